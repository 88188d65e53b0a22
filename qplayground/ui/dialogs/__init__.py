"""Dialogs. Each is imported when it opens: together they would add a tenth to the window's start."""
