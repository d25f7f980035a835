"""Where an export that was cut short goes on, whatever stands at its end."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from habitat_like.cli.resume import Place, find_place
from habitat_like.export.csv_form import csv_blocks, csv_header

HEADER = csv_header(True)

TEXT = st.text(st.sampled_from('a"\n\r,;é\0{}: '), max_size=8)
DOCUMENTS = st.lists(
    st.builds(
        lambda time, name, text: {
            "_id": name,
            "type": text,
            "callsign": name,
            "time_created": time,
            "data": {"string": text},
            "suspicious": text,
        },
        st.integers(0, 3),
        TEXT,
        TEXT,
    ),
    max_size=12,
    unique_by=lambda one: (one["time_created"], one["_id"]),
).map(lambda some: sorted(some, key=lambda one: (one["time_created"], one["_id"])))
#: What a crash can leave behind the last thing written.
TAILS = st.sampled_from([b"", b"\0", b"\0" * 700, b"\xff\n", b"\xff"])


def rows_of(documents: list[dict[str, Any]], form: str) -> list[bytes]:
    """The rows of the export, each of one document."""
    if form == "ndjson":
        return [json.dumps(one).encode() + b"\n" for one in documents]
    return [b"".join(csv_blocks([one], suspicious=True)) for one in documents]


@given(DOCUMENTS, st.sampled_from(["ndjson", "csv"]), st.integers(0), TAILS)
def test_an_export_cut_anywhere_goes_on_to_the_same_file(
    documents: list[dict[str, Any]], form: str, cut: int, tail: bytes
) -> None:
    header = HEADER if form == "csv" else b""
    rows = rows_of(documents, form)
    whole = header + b"".join(rows)
    left = whole[: cut % (len(whole) + 1)]
    place = find_place(io.BytesIO(left + tail), header=header, packed=False)
    assert left.startswith(whole[: place.size])
    # Nothing that was whole is lost, and nothing is done twice.
    assert place.count == sum(
        len(header) + sum(map(len, rows[: number + 1])) <= len(left) for number in range(len(rows))
    )
    at = [(one["time_created"], one["_id"]) for one in documents]
    assert place.last == (at[place.count - 1] if place.count else None)
    rest = b"".join(rows[place.count :])
    assert whole[: place.size] + (b"" if place.size else header) + rest == whole


@given(DOCUMENTS, st.sampled_from(["ndjson", "csv"]), st.integers(1, 4), st.integers(0), TAILS)
def test_a_compressed_one_goes_on_behind_its_last_whole_member(
    documents: list[dict[str, Any]], form: str, together: int, cut: int, tail: bytes
) -> None:
    header = HEADER if form == "csv" else b""
    rows = rows_of(documents, form)
    pieces = [b"".join(rows[at : at + together]) for at in range(0, len(rows), together)]
    pieces[:1] = [header + b"".join(pieces[:1])]
    members = [gzip.compress(piece) for piece in pieces if piece]
    whole = b"".join(members)
    left = whole[: cut % (len(whole) + 1)]
    place = find_place(io.BytesIO(left + tail), header=header, packed=True)
    kept = [sum(map(len, members[:number])) for number in range(len(members) + 1)]
    # A member ends in zeros, so those of the tail can make it whole.
    whole_ones = [size for size in kept if (left + tail)[:size] == whole[:size]]
    assert place.size == max(whole_ones) >= max(size for size in kept if size <= len(left))
    assert gzip.decompress(whole[: place.size] or gzip.compress(b"")) == (
        b"".join(pieces[: kept.index(place.size)])
    )


def test_long_values_are_no_sign_of_damage() -> None:
    one = {"_id": "a", "time_created": 1, "callsign": 'x"\n' * 50_000}
    for form, header in (("csv", HEADER), ("ndjson", b"")):
        rows = rows_of([one, one | {"_id": "b"}], form)
        written = header + b"".join(rows)
        assert find_place(io.BytesIO(written), header=header, packed=False) == Place(
            len(written), 2, (1, "b")
        )


def test_rows_out_of_order_or_of_another_shape_end_it() -> None:
    good = b'{"_id":"b","time_created":5}\n'
    for bad in (
        good,
        b'{"_id":"a","time_created":5}\n',
        b'{"_id":"z","time_created":4}\n',
        b'{"_id":"z"}\n',
        b'{"_id":"z","time_created":"6"}\n',
        b"[]\n",
        b"\n",
        b'{"_id":"z","time_created":6,"x":"\xff"}\n',
    ):
        found = find_place(io.BytesIO(good + bad + good), header=b"", packed=False)
        assert found == Place(len(good), 1, (5, "b")), bad
    members = gzip.compress(good, mtime=0) + gzip.compress(b'{"_id":"c","time_created":6}\n{"_id"')
    found = find_place(io.BytesIO(members), header=b"", packed=True)
    assert found == Place(len(gzip.compress(good, mtime=0)), 1, (5, "b"))
    other_header = b"time_created,_id\n5,b\n"
    assert find_place(io.BytesIO(other_header), header=HEADER, packed=False) == Place()
