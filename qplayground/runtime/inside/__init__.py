"""Looking inside quantization: an engine that shows one matrix, one that measures layers, one that runs a prompt."""
