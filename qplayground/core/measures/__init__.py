"""What is measured, as numbers: quality, divergence, repeated readings."""
