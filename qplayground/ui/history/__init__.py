"""Comparisons that were run before."""
