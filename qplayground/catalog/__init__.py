"""Finding, checking and downloading models. Never imports torch or Qt."""
