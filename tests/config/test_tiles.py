"""The template of a tile server's addresses, which the console's policy lets in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.config.file import load
from habitat_like.config.keys import ConfigError
from habitat_like.config.tiles import host_of
from habitat_like.console.policy import POLICY


@pytest.mark.parametrize(
    ("template", "host"),
    [
        ("https://tile.example.org/{z}/{x}/{y}.png", "https://tile.example.org"),
        ("http://127.0.0.1:8080/a/{z}/{y}/{x}?key=a-b_c", "http://127.0.0.1:8080"),
        ("https://[2001:db8::1]:444/{z}/{x}/{y}", "https://[2001:db8::1]:444"),
        ("https://TILES.example/{x}{y}{z}", "https://tiles.example"),
    ],
)
def test_the_host_is_what_the_policy_names(template: str, host: str) -> None:
    assert host_of(template) == host


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("tile.example.org/{z}/{x}/{y}.png", "not the address of a tile server"),
        ("ftp://tile.example.org/{z}/{x}/{y}.png", "not the address of a tile server"),
        ("https://{s}.tile.example.org/{z}/{x}/{y}.png", "with no {s}"),
        ("https://user:pw@tile.example.org/{z}/{x}/{y}.png", "user name"),
        ("https://tile.example.org", "not the address of a tile server"),
        ("https://tile.example.org/{z}/{x}.png", "{y} is missing"),
        ("https://tile.example.org/{z}/{x}/{y}{r}.png", "{r} is none of"),
        ("https://a;script-src 'unsafe-inline' b/{z}/{x}/{y}", "not the address"),
        ("https://a/{z}/{x}/{y} https://b", "not the address"),
        ("https://a/{z}/{x}/{y}\n", "not the address"),
    ],
)
def test_anything_else_is_refused_with_a_line(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        host_of(template)
    assert reason in str(caught.value)


@given(st.text(max_size=80), st.text(max_size=20))
def test_no_template_adds_to_the_policy(host: str, path: str) -> None:
    try:
        found = host_of(f"https://{host}/{path}{{z}}/{{x}}/{{y}}")
    except ValueError:
        return
    assert not set(found) & set(" ;,'\"\t\r\n")
    assert found not in POLICY


def test_the_configuration_names_the_key() -> None:
    environ = {"HABITAT_CONSOLE_TILES": "https://tile.example.org/{z}.png"}
    with pytest.raises(ConfigError, match=r"console\.tiles: {x} is missing"):
        load(None, environ)
    with pytest.raises(ConfigError, match=r"console\.tiles_attribution: there are no tiles"):
        load(None, {"HABITAT_CONSOLE_TILES_ATTRIBUTION": "me"})
    both = {
        "HABITAT_CONSOLE_TILES": "https://tile.example.org/{z}/{x}/{y}.png",
        "HABITAT_CONSOLE_TILES_ATTRIBUTION": "© me",
    }
    assert load(None, both).console.tiles_attribution == "© me"
