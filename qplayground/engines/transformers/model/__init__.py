"""What a model is, by its config and its files' headers: shapes without weights, names, which layers are converted."""
