"""Numbers as people read them."""

from __future__ import annotations


def size(number: float) -> str:
    """Bytes in a unit that suits them, such as ``3.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return (
                f"{number:.0f} {unit}"
                if unit == "bytes" or number >= 100
                else f"{number:.1f} {unit}"
            )
        number /= 1000
    return f"{number:,.1f} TB"


def show_days(days: float) -> str:
    """A number of days, with a fraction where there are few."""
    if days >= 1000:
        return "over 1000 days"
    return f"{days:.1f} days" if days < 10 else f"{days:.0f} days"


def many(count: int, noun: str) -> str:
    """``count`` with its noun, in the plural where it is not one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def sentence(text: str) -> str:
    """``text`` with a full stop, where it has no end yet."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
