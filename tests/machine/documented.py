"""The commands of the documentation, word for word."""

from __future__ import annotations

import re

from tests.support.docs import blocks, text

OPERATING = "docs/operating.md"
#: The pages for operators.
PAGES = (OPERATING, "docs/by-hand.md", "docs/monitoring.md")


def commands(heading: str, page: str | None = None) -> list[str]:
    """The shell blocks below a heading (``## 2. The configuration``), up to the next one.

    ``page`` is where to look, by default the first of ``PAGES`` that has it. Raises AssertionError
    where there is no such heading, or no block below it.
    """
    if page is None:
        having = [name for name in PAGES if f"\n{heading}\n" in text(name)]
        page = having[0] if having else OPERATING
    # A line that begins with # may be a comment in a block.
    apart = re.split(r"^(#+ [^\n]*)\n", _without_comments(text(page)), flags=re.M)
    sections = dict(zip(apart[1::2], apart[2::2], strict=True))
    assert heading in sections, f"{page} has no heading {heading!r}"
    found = blocks(sections[heading], "sh")
    assert found, f"{page} has no commands below {heading!r}"
    return found


def _without_comments(markdown: str) -> str:
    def clean(block: re.Match[str]) -> str:
        return re.sub(r"^#.*\n", "", block[0], flags=re.M)

    return re.sub(r"^```.*?^```$", clean, markdown, flags=re.M | re.S)
