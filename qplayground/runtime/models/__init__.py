"""The models on this machine, and the jobs that add to them."""
