"""Looks inside quantization: reads one weight matrix from the checkpoint, and shows what quantizing does to it."""
