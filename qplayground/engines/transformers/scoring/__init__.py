"""What a precision costs in accuracy, measured on a text."""
