"""The processor, the GPUs and their memory, as torch and the quantizers' libraries use them."""
