"""Looking inside quantization. Engines show one matrix, measure layers, or run a prompt."""
