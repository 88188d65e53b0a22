"""What this machine has, found without an engine: memory, GPUs, display, system libraries."""
