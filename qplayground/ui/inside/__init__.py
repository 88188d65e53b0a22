"""The Inside window: what quantization does to the picked model's weights."""
