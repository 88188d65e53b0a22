"""What an engine says before it does what may end it; the window's side looks for it in the output of one that died."""

READING_TEXT = "The model's tokenizer reads a text."
"""Should memory run out in the tokenizer then, it is the tokenizer that wants too much."""
