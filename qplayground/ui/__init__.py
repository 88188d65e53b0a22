"""Widgets. They know the session and the library, never an engine."""
