"""The window's widgets. They know the session and the library, never an engine."""
