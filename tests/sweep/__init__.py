"""The program against plain transformers, over every type of causal language model that transformers knows."""
