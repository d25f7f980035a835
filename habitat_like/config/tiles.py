"""Map tiles: the template of a tile server's addresses. No I/O."""

from __future__ import annotations

import re

_TEMPLATE = re.compile(
    r"(?P<origin>https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?)"
    r"(?P<path>/[A-Za-z0-9._~!$&()*+,=:@%/?{}-]*)"
)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}?")
_NEEDED = ("z", "x", "y")


def host_of(template: str) -> str:
    """The scheme and host of a template, as a Content-Security-Policy names a source.

    Raises ValueError, with one line that says what to write.
    """
    found = _TEMPLATE.fullmatch(template)
    if found is None:
        raise ValueError(
            "not the address of a tile server; write https://HOST/{z}/{x}/{y}.png, with no {s},"
            " user name or quotes in it"
        )
    names = _PLACEHOLDER.findall(found["path"])
    if missing := [name for name in _NEEDED if name not in names]:
        raise ValueError(f"{{{missing[0]}}} is missing; write https://HOST/{{z}}/{{x}}/{{y}}.png")
    if foreign := [name for name in names if name not in _NEEDED]:
        raise ValueError(f"{{{foreign[0]}}} is none of {{z}}, {{x}} and {{y}}")
    return found["origin"].lower()
