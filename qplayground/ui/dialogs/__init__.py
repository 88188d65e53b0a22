"""Windows that answer one question."""
