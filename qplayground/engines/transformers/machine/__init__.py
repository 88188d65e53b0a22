"""The CPU, the GPUs and their memory, as torch and the quantizers' libraries use them."""
