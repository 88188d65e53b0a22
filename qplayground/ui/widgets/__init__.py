"""What several widgets are made of: the look, text size, small parts."""
