"""Turns library errors into messages, and limits what a model's files can make an engine do."""
