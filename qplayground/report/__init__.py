"""Comparisons as files and tables for other programs and people."""
