"""The program against plain transformers, for every causal language model type in transformers."""
