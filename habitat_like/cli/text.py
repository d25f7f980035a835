"""Text that is safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with everything that could steer a terminal written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def is_text(given: str) -> bool:
    """Whether a word of the command line is text: bytes in another encoding come as surrogates."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True
