"""qplayground: what quantization does to a language model on this machine."""

__version__ = "0.1.0"
