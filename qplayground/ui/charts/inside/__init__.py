"""Charts of a matrix and of a model's layers."""
