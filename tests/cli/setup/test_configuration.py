"""Keys are set in the configuration's text, and everything else in it stays."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.cli.setup import shipped
from habitat_like.cli.setup.configuration import set_keys, values
from habitat_like.cli.setup.effects import SetupError

URI = "sqlite:/var/lib/habitat/archive.sqlite"
OTHER = "couchdb://habitat@couch.example:5984/habitat"


def test_the_shipped_configuration_changes_in_one_line_a_key() -> None:
    text = shipped.text("config.yml")
    secret = "/etc/habitat/couchdb.password"
    new = set_keys(text, {"archive.uri": OTHER, "archive.password_file": secret})
    before, after = text.splitlines(), new.splitlines()
    assert len(before) == len(after)
    changed = [line for old, line in zip(before, after, strict=True) if old != line]
    assert changed == [f"  uri: {OTHER}", f"  password_file: {secret}"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gateway:\n  workers: 2",
        "archive:\n",
        "archive:\n  timeout: 3   # slow\n",
        "# mine\narchive: # here\n  # uri: old\n  uri: sqlite:old # was\n\nlog:\n  level: info\n",
        "archive:\n    timeout: 3\n    uri: sqlite:old\n",
    ],
)
def test_a_key_is_set_wherever_it_stands(text: str) -> None:
    before = values(text)
    new = set_keys(text, {"archive.uri": URI})
    assert yaml.safe_load(new)["archive"]["uri"] == URI
    assert values(new) == {**before, "archive.uri": URI}
    comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert all(line in new for line in comments)


@pytest.mark.parametrize(
    "text", ["archive: {uri: sqlite:old}\n", "archive:\n  uri:\n    sqlite:old\n  timeout: 5\n"]
)
def test_a_layout_that_can_not_be_edited_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(SetupError, match=r"set these yourself.* archive.uri: sqlite:"):
        set_keys(text, {"archive.uri": URI})


TEXT = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=20)


@given(value=TEXT, others=st.dictionaries(st.sampled_from(["timeout", "batch"]), st.integers()))
def test_any_value_comes_back(value: str, others: dict[str, int]) -> None:
    text = "archive:\n" + "".join(f"  {name}: {number}\n" for name, number in others.items())
    new = set_keys(text, {"archive.uri": f"x{value}"})
    assert yaml.safe_load(new)["archive"] == {"uri": f"x{value}", **others}
