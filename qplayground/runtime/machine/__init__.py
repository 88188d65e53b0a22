"""What this machine has, told without an engine: memory, GPUs, display, system libraries."""
