"""Building blocks of the widgets: theme, text size, small parts."""
