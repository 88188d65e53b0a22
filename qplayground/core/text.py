"""Text that can be written down."""


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8; arguments and file names may hold bytes that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
