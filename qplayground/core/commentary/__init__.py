"""What is said of comparisons and of machines: explanations, notes, known problems, what to pick, verdicts."""
