"""A model's tokenizer and chat template: from a prompt to token ids, and from ids to text."""
