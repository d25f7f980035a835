"""What `make machine` takes from the documentation can be taken, without a machine."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.machine import chroots, couch, doctor, installing, operating, power
from tests.machine.documented import OPERATING, commands
from tests.machine.trial import STEPS
from tests.support.docs import DOCS, TEXTS, blocks, text

assert chroots, couch
assert doctor, installing
assert operating, power


def test_the_steps_are_documented() -> None:
    page = text("docs/reliability.md")
    assert "`make machine`" in page
    for step in STEPS.values():
        assert f"| {step.text} |" in page, step.name


@pytest.mark.parametrize(
    ("heading", "number"),
    [
        ("## Install", 3),
        ("### Without the package", 1),
        ("## 1. The user and the program", 1),
        ("## 2. The configuration", 1),
        ("## 4. systemd", 1),
        ("## 5. nginx", 1),
        ("## 6. Try it", 1),
        ("## More than one gateway", 4),
        ("## Upgrade", 1),
        ("## Upgrade by hand", 1),
        ("## Backup", 3),
        ("## Logs", 2),
        ("### The configuration is wrong", 1),
    ],
)
def test_the_commands_that_are_run_are_there(heading: str, number: int) -> None:
    assert len(commands(heading)) == number


@pytest.mark.parametrize("name", TEXTS)
def test_commands_are_such_as_a_shell_takes(name: str) -> None:
    for block in blocks(text(name), "sh"):
        done = subprocess.run(
            ["sh", "-n"], input=block, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{done.stderr}{block}"


def test_a_bare_debian_is_not_asked_for_what_it_lacks() -> None:
    """It has no sudo, and apt-get asks for a yes where nobody can give it."""
    for path in DOCS.glob("*.md"):
        for block in blocks(path.read_text(encoding="utf-8"), "sh"):
            assert not re.search(r"^\s*sudo\b", block, re.M), path
            for line in re.findall(r"^apt-get .*", block, re.M):
                assert "update" in line or "--yes" in line, f"{path}: {line}"


def test_a_section_without_commands_is_told() -> None:
    with pytest.raises(AssertionError, match="has no heading"):
        commands("### 99. Nothing", OPERATING)
