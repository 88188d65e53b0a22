"""Predicts what a model will take, from its shapes alone, and where its parts will be."""
