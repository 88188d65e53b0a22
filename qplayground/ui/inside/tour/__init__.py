"""The Tour tab."""
