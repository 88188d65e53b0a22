"""Measures what the program promises about time and memory. `make bench` runs all; each is also a small script."""
