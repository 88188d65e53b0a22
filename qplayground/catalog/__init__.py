"""Which models this machine has, and getting one. Never imports torch or Qt."""
