"""A fork server with this preloaded takes a while to be gone."""

HELD = bytearray(b"x") * (1 << 29)
