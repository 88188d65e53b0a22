"""Looking inside quantization: one weight matrix read from the checkpoint, and what quantizing makes of it."""
