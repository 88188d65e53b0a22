"""Clients of an engine that answers questions outside a comparison."""
