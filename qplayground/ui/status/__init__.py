"""The status bar and the log."""
