"""The vocabulary that the window and the engines share. Standard library, msgspec and psutil only."""
