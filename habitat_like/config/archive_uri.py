"""``archive.uri`` in a form safe to show. Its meaning is up to the archives."""

from __future__ import annotations


def mask(uri: str) -> str:
    """``uri`` with the password, if there is one, written as ***.

    If it is not a URI, nothing before the last @ is shown: it may be half of a password.
    """
    head, at, tail = uri.rpartition("@")
    if not at or uri.startswith("sqlite:"):
        return uri
    scheme, slashes, credentials = head.partition("//")
    if not slashes:
        return f"***@{tail}"
    user, colon, _ = credentials.partition(":")
    return f"{scheme}//{user}:***@{tail}" if colon else uri
