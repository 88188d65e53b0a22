"""What the program knows of the system that it runs on, and of its own processes and files."""
