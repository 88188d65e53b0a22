"""The only importer of torch, transformers, bitsandbytes and accelerate. Runs in child processes, knows no Qt."""
