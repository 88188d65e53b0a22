"""What is known of a machine when it is checked, and what rules about it are made of."""
