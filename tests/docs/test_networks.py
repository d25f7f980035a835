"""docs/networks.md tells of every network how to use it, and what becomes of what it sends."""

from __future__ import annotations

import re

import pytest
import yaml

from habitat_like.networks import catalogue
from habitat_like.networks.base import NetworkSettings
from tests.support.docs import blocks, table, text

PAGE = "docs/networks.md"
NAMES = sorted(set(catalogue.BUILT_IN) - {"hisparc"})


def section(name: str) -> str:
    return text(PAGE).partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_network_has_its_section(name: str) -> None:
    network = catalogue.find(name)
    found = section(name)
    assert re.search(r"^For .*(owner|sends)", found, re.M)
    assert re.search(r"^For the operator", found, re.M)
    for route in network.routes:
        assert re.search(rf"{re.escape(route.pattern.rstrip('*'))}", found), route.pattern
    own = set(network.Settings.__struct_fields__) - set(NetworkSettings.__struct_fields__)
    for key in own:
        assert f"networks.{name}.{key}" in found


@pytest.mark.parametrize("name", NAMES)
def test_its_types_are_told(name: str) -> None:
    rows = {row[0]: row for row in table(PAGE, "## The networks")}
    types = set(re.findall(r"`(\w+)`", rows[f"[{name}](#{name})"][2]))
    assert types == set(catalogue.find(name).types)


def test_what_is_dropped_and_answered_is_told_of_all() -> None:
    dropped = {row[0] for row in table(PAGE, "## What is kept and what is dropped")}
    assert dropped == {"all", *NAMES}
    answered = table(PAGE, "## Answers")
    assert {name for row in answered for name in row[0].split(", ")} == set(NAMES)
    for row in answered:
        for name in row[0].split(", "):
            status = catalogue.find(name).overload_status
            assert row[5] == f"`{status}`"


def test_the_example_can_be_loaded() -> None:
    for block in blocks(text(PAGE), "yaml"):
        tree = yaml.safe_load(block)
        if isinstance(tree, dict):
            for name, value in tree["networks"].items():
                catalogue.settings_of(name, value)
