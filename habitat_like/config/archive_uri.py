"""``archive.uri`` as everybody may see it. What it means, the archives know."""

from __future__ import annotations


def mask(uri: str) -> str:
    """``uri`` with the password, if there is one, written as ***.

    Of what is no address, nothing before the last @ is shown: it may be half of a password.
    """
    head, at, tail = uri.rpartition("@")
    if not at or uri.startswith("sqlite:"):
        return uri
    scheme, slashes, credentials = head.partition("//")
    if not slashes:
        return f"***@{tail}"
    user, colon, _ = credentials.partition(":")
    return f"{scheme}//{user}:***@{tail}" if colon else uri
