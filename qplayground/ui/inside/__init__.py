"""The Inside window: what quantization does to the weights of the picked model."""
