"""What the libraries raise, put into words, and bounds on what a model's files can do."""
