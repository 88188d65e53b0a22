"""What runs without a window: the same session and planner, progress on standard error."""
