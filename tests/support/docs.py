"""The pages of the documentation, and what they are held to."""

from __future__ import annotations

import re
from functools import cache

from habitat_like import config as configuration
from tests.support.net import ROOT

DOCS = ROOT / "docs"

ETC = ROOT / "etc"

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in DOCS.glob("*.md"))

TEXTS = ["README.md", "CHANGES.md", "SECURITY.md", *PAGES]

KEYS = dict(configuration.keys())

VARIABLES = configuration.environment_keys()

#: The key whose default depends on the machine: etc/config.yml has it as a comment.
COMMENTED = "gateway.machine_code"


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(markdown: str, language: str) -> list[str]:
    """The fenced blocks of a language in a text."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", markdown, re.M | re.S)
    return found


def table(name: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    _, _, section = text(name).partition(f"\n{heading}\n")
    assert section, f"{name} has no heading {heading!r}"
    lines = re.findall(r"^\|.*\|$", section.partition("\n\n#")[0].partition("\n#")[0], re.M)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
