"""What a model takes in memory: estimated, measured, and whether it fits."""
