"""Looking inside quantization: one weight matrix read from the checkpoint, and what bitsandbytes makes of it."""
