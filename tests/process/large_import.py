"""A fork server with this preloaded takes a while to end."""

HELD = bytearray(b"x") * (1 << 29)
