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
    """A number of days, with a fraction if there are few."""
    if days >= 1000:
        return "over 1000 days"
    return f"{days:.1f} days" if days < 10 else f"{days:.0f} days"


def many(count: int, noun: str) -> str:
    """``count`` with separated thousands and its noun, plural unless it is one."""
    return f"{count:,} {plural(count, noun)}"


def plural(count: int, noun: str) -> str:
    """``noun``, plural unless ``count`` is one."""
    return noun if count == 1 else f"{noun}s"


def sentence(text: str) -> str:
    """``text`` with a full stop, if it has no end mark yet."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
