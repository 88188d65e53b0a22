"""A comparison: what is asked, what happens next, who does it, what came of it."""
