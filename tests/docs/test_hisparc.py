"""docs/hisparc.md keeps to what the datastore and the stations' software do."""

from __future__ import annotations

import re

from tests.support.net import ROOT

TEXT = (ROOT / "docs" / "hisparc.md").read_text(encoding="utf-8")
#: The types that the datastore's writer knows.
TYPES = "CIC CFG ERR CMP SIN SAT WTR WER WCG LIT LER LCG LST LNS"


def test_the_types_of_events_are_the_datastores() -> None:
    (paragraph,) = re.findall(r"The types of events .*?accepted too", TEXT, re.DOTALL)
    assert set(re.findall(r"\b[A-Z]{3}\b", paragraph)) == set(TYPES.split())


def test_what_the_datastore_takes_for_suspicious_is_told_with_its_time() -> None:
    (row,) = re.findall(r"\| suspicious \|.*", TEXT)
    assert "before 2020 since June 2024" in row


def test_a_cfg_events_local_time_is_told() -> None:
    assert re.search(r"`CFG` event, pysparc's `datetime` .*local time", TEXT)
