"""What a model is, from its config and file headers alone: shapes, names, and which layers are converted."""
