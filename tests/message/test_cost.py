"""What a body may cost: digits, keys and values are bounded before it is parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.message.cost import FREE, MAX_DIGITS, MAX_KEYS, MAX_VALUES, refuse_costly
from habitat_like.message.message import InvalidMessage
from habitat_like.message.types import Registry
from tests.support.messages import INFO, TELEM

#: Text that makes the least message one that is looked at.
PADDING = {"padding": "x" * FREE}
LONG = 10**MAX_DIGITS


def parse(tree: Any) -> None:
    body = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    Registry().parse(body, None, 1_700_000_000)


def reason(tree: Any) -> str:
    with pytest.raises(InvalidMessage) as caught:
        parse(tree)
    return str(caught.value)


def keys(count: int) -> dict[str, int]:
    return {f"k{number}": number for number in range(count)}


# Each of them once behind what is wrong anyway, which must not be looked for in them.
@pytest.mark.parametrize(
    "tree",
    [TELEM, INFO, {**TELEM, "type": "TELEM"}, {**TELEM, "type": [1]}, {**TELEM, "callsign": ""}],
    ids=["telem", "info", "a forbidden type", "no type", "no callsign"],
)
@pytest.mark.parametrize(
    ("more", "text"),
    [
        ([LONG] * 10, f"a number of more than {MAX_DIGITS} digits"),
        ([float("1" + "0" * 300)] + [-LONG] * 10, f"a number of more than {MAX_DIGITS} digits"),
        (keys(MAX_KEYS + 1), f"more than {MAX_KEYS} keys"),
        (keys(100_000), f"more than {MAX_KEYS} keys"),
        ([{"a": {"b": 1}}] * MAX_KEYS, f"more than {MAX_KEYS} keys"),
        ([0] * (MAX_VALUES + 2), f"more than {MAX_VALUES} values"),
        (["x"] * (MAX_VALUES + 1), f"more than {MAX_VALUES} strings"),
    ],
    ids=["digits", "digits behind a float", "keys", "100,000 keys", "nested", "values", "strings"],
)
@pytest.mark.parametrize("where", ["data", "top"])
def test_a_costly_body_is_refused_with_the_reason(
    tree: dict[str, Any], more: Any, text: str, where: str
) -> None:
    if where == "data":
        tree = {**tree, "data": {**tree["data"], "more": more}}
    else:
        tree = {**tree, "more": more, "escape": '\\"\\'}
    assert reason(tree).startswith(f"body: {text}")


def test_a_fraction_and_an_exponent_have_digits_as_well() -> None:
    for number in (b"1." + b"3" * 5000, b"1e" + b"3" * 5000, b"-" + b"7" * 5000):
        body = json.dumps({**TELEM, "more": 0}).encode().replace(b'"more": 0', b'"more": ' + number)
        assert "digits" in reason(body)


@pytest.mark.parametrize(
    "text", ["1" * 5000, ":," * 60_000, '":' * 30_000, "\\" * 5000, '\\":{"' * 3000, "[{" * 9000]
)
def test_what_a_string_holds_costs_nothing(text: str) -> None:
    parse({**TELEM, "data": {**TELEM["data"], "note": text, text[:64]: 1}})


def test_a_body_at_the_limits_is_taken() -> None:
    own = 5 + len(TELEM["data"]) + 1  # the message's own keys, and "more"
    parse({**TELEM, **PADDING, "data": {**TELEM["data"], **keys(MAX_KEYS - own)}})
    parse({**TELEM, "more": [0] * (MAX_VALUES - 20)})
    parse({**TELEM, **PADDING, "more": [LONG - 1]})


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 200_000, b'"' * 100_001, b"\\" * 9999])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    assert reason(body).startswith("body: ")


def size(tree: Any) -> tuple[int, int, int]:
    """Keys, strings and commas in the JSON of ``tree``, counted in the tree."""
    if isinstance(tree, str):
        return 0, 1, 0
    if not isinstance(tree, dict | list):
        return 0, 0, 0
    below = [size(one) for one in (tree.values() if isinstance(tree, dict) else tree)]
    found = [sum(column) for column in zip((0, 0, 0), *below, strict=True)]
    own = len(tree) if isinstance(tree, dict) else 0
    return found[0] + own, found[1] + own, found[2] + max(len(tree) - 1, 0)


texts = st.text(st.sampled_from('a1":,\\[]{}\u00e9\n '), max_size=12)
trees = st.recursive(
    st.none() | st.integers(-(10**30), 10**30) | st.floats() | texts,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4),
    max_leaves=12,
)


@given(trees, st.sampled_from([1, 1 + MAX_KEYS // 8, 1 + MAX_KEYS, 6000]), st.booleans())
def test_it_counts_what_is_in_the_json(tree: Any, times: int, ascii_only: bool) -> None:
    whole = [tree] * times
    keys, strings, commas = size([*whole, PADDING])
    body = json.dumps([*whole, PADDING], ensure_ascii=ascii_only).encode()
    try:
        refuse_costly(body)
    except InvalidMessage as error:
        told = str(error)
    else:
        told = ""
    cost = [keys > MAX_KEYS, strings > MAX_VALUES, commas > MAX_VALUES]
    assert bool(told) == any(cost), (told, keys, strings, commas)
