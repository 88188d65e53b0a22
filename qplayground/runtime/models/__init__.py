"""The models of this machine, and the jobs that add to them."""
