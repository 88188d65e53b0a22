"""qplayground: what quantization does to a language model on this machine."""

__version__ = "0.1.0"

APPLICATION_ID = "io.github.qplayground.QPlayground"
"""The name by which desktops know the program: of its desktop entry, its icon and its metainfo.

A stand-in, as this project has no such account: whoever publishes the program puts a name of their own here.
"""
