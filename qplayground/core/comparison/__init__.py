"""A comparison and its runs, and every figure that is read from them."""
