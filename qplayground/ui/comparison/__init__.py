"""The results of a comparison: columns, and the tabs below them."""
