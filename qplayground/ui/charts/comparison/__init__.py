"""Charts of a comparison's runs."""
