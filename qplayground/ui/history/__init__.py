"""Past comparisons."""
