"""Old messages go, and nothing else does: months of CouchDB, rows of the embedded archive."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from habitat_like.archive import Query, check, open_archive
from habitat_like.archive.couch_cluster import CouchCluster
from habitat_like.archive.couch_months import MonthlyArchive
from habitat_like.archive.couch_uri import CouchUri
from habitat_like.archive.retention import Retention
from habitat_like.archive.sqlite import SqliteArchive
from habitat_like.config.keys import ArchiveConfig, ConfigError
from tests.archive.test_months import DAY, NOW, at, document
from tests.conftest import HabitatFactory
from tests.support.archive import encode, everything, fails, ids
from tests.support.couch import CouchServer
from tests.support.load import upload
from tests.support.log import log_entries
from tests.support.proxy import Answer, Proxy, on
from tests.support.wait import PATIENCE, eventually

BEFORE = NOW - 365 * DAY


@pytest.fixture
def monthly(proxy: Proxy, couch: CouchServer, database: str) -> Iterator[MonthlyArchive]:
    uri = CouchUri("couchdb", f"{database}-{{month}}", (f"127.0.0.1:{proxy.port}",), "gateway")
    with closing(
        MonthlyArchive(CouchCluster(uri, PATIENCE), uri.database, clock=lambda: NOW)
    ) as made:
        made.prepare()
        yield made
    for name in couch.databases():
        if name.startswith(f"{database}-"):
            couch.delete(name)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[SqliteArchive]:
    with closing(SqliteArchive(str(tmp_path / "archive.sqlite"))) as made:
        made.prepare()
        yield made


def drop_all(archive: MonthlyArchive | SqliteArchive, before: int = BEFORE) -> int:
    """How many messages go."""
    total = 0
    while (done := archive.drop_before(before)).more:
        total += done.messages
    return total + done.messages


def test_whole_months_go(monthly: MonthlyArchive, couch: CouchServer, database: str) -> None:
    old = [document(n, at(f"2025-{n:02d}")) for n in range(3, 12)]
    monthly.store(encode([*old, document(20, NOW), document(21, 5)]))
    doomed = list(monthly.expired(BEFORE))
    assert [one.name for one in doomed] == [f"2025-{n:02d}" for n in range(3, 11)]
    assert sum(one.messages for one in doomed) == 8
    assert len(everything(monthly)) == 11, "a dry run changes nothing"
    assert drop_all(monthly) == 8
    assert f"{database}-2025-10" not in couch.databases()
    assert ids(everything(monthly)) == ids([document(21, 5), old[-1], document(20, NOW)])
    assert drop_all(monthly) == 0


def test_a_month_with_a_young_message_stays(monthly: MonthlyArchive) -> None:
    """Its station's clock is years slow: the id is old, the message is not."""
    slow = document(1, at("2024-01"), at("2026-05"))
    monthly.store(encode([slow, document(2, at("2024-01")), document(3, at("2024-02"))]))
    done = monthly.drop_before(BEFORE)
    assert done.portions == ("2024-02",)
    assert "2024-01 stays: it has a message created on 2026-05-15" in done.kept[0]
    assert ids(everything(monthly)) == ids([document(2, at("2024-01")), slow])


def test_nothing_goes_during_an_export(monthly: MonthlyArchive, embedded: SqliteArchive) -> None:
    for archive in (monthly, embedded):
        archive.store(encode([document(1, at("2024-01")), document(2, NOW)]))
        with archive.hold():
            done = archive.drop_before(BEFORE)
            assert (done.messages, done.more) == (0, False)
            assert "running" in done.kept[0]
            assert len(everything(archive)) == 2
        assert drop_all(archive) == 1
        assert ids(everything(archive)) == ids([document(2, NOW)])


def test_the_hold_of_an_export_that_was_killed_ends(monthly: MonthlyArchive, database: str) -> None:
    monthly.store(encode([document(1, at("2024-01"))]))
    killed = monthly.hold()
    killed.__enter__()
    assert monthly.drop_before(BEFORE).kept
    later = MonthlyArchive(monthly._cluster, f"{database}-{{month}}", clock=lambda: NOW + 3600)
    assert drop_all(later) == 1


def test_an_account_that_may_not_delete(monthly: MonthlyArchive, proxy: Proxy) -> None:
    monthly.store(encode([document(1, at("2024-01"))]))
    proxy.rule = on("DELETE", "", Answer(401, reason="You are not a server admin."))
    text = fails(lambda: monthly.drop_before(BEFORE))
    assert "does not let user 'gateway' delete" in text
    assert "habitat archive drop 2024-01" in text
    proxy.rule = None
    assert monthly.drop("2024-01").messages == 1


def test_one_database_of_couchdb_lets_nothing_go() -> None:
    config = ArchiveConfig(uri="couchdb://h/habitat", keep=30)
    with pytest.raises(ConfigError, match=r"archive\.keep: .* habitat-\{month\}"):
        check(config)


def test_old_rows_go(embedded: SqliteArchive) -> None:
    documents = [document(n, NOW - n * DAY) for n in range(1000)]
    embedded.store(encode(documents))
    assert sum(one.messages for one in embedded.expired(BEFORE)) == 634
    assert drop_all(embedded) == 634
    assert sorted(ids(everything(embedded))) == sorted(ids(documents[:366]))
    listed = list(embedded.portions())
    assert sum(one.messages for one in listed) == 366
    assert (listed[0].name, listed[-1].name) == ("2025-11", "2026-11")
    assert listed[0].first == NOW - 365 * DAY


def test_suspicious_rows_go_by_when_they_came(embedded: SqliteArchive) -> None:
    young = [document(n, 0, n, suspicious="date") for n in range(100)]
    old = [{**one, "_id": f"old{n}", "time_uploaded": BEFORE - 1} for n, one in enumerate(young)]
    late = {**document(1, at("2024-01")), "data": {"suspicious": 1}}  # the word alone is no mark
    embedded.store(encode([*young, *old, late]))
    assert drop_all(embedded) == 101
    kept = embedded.query(Query(order="asc", suspicious=True))
    assert ids(kept) == ids(young)


def pages(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])


def fill(archive: SqliteArchive, days: range, size: int = 20_000) -> None:
    for n in days:
        archive.store(encode([document(n, NOW - n * DAY, data={"string": "x" * size})]))


@pytest.fixture
def small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("habitat_like.archive.sqlite_retention.RESERVED_PAGES", 100)


@pytest.mark.usefixtures("small_reserve")
def test_the_file_gets_smaller(embedded: SqliteArchive, tmp_path: Path) -> None:
    fill(embedded, range(300, 600))
    before = pages(tmp_path / "archive.sqlite")
    dropped, pieces = embedded.drop_before(BEFORE), 1
    while dropped.more:
        dropped, pieces = embedded.drop_before(BEFORE), pieces + 1
    after = pages(tmp_path / "archive.sqlite")
    assert after < before / 2
    # Not a page a piece: each piece is a transaction, and a large file has a million pages.
    assert pieces < (before - after) / 4
    assert len(everything(embedded)) == 66


@pytest.mark.usefixtures("small_reserve")
def test_a_file_of_before_uses_its_free_pages_again(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite"
    with closing(SqliteArchive(str(path))) as archive:
        archive.prepare()
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA auto_vacuum = NONE")
        old.execute("VACUUM")
    with closing(SqliteArchive(str(path))) as archive:
        fill(archive, range(300, 600))
        before = pages(path)
        assert drop_all(archive) == 234
        fill(archive, range(200))
        assert pages(path) <= before
        assert len(everything(archive)) == 266


def test_a_file_that_is_gone_is_not_made_anew(embedded: SqliteArchive, tmp_path: Path) -> None:
    embedded.store(encode([document(1, at("2024-01"))]))
    (tmp_path / "archive.sqlite").unlink()
    fails(lambda: embedded.drop_before(BEFORE))
    assert not (tmp_path / "archive.sqlite").exists()


def test_nothing_goes_once_the_clock_was_put_ahead(
    embedded: SqliteArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a bad time server: with the right time again the archive has all it had."""
    now = time.time()
    embedded.store(encode([document(1, int(now) - 9 * DAY), document(2, int(now))]))
    retention = Retention(embedded, 5)
    retention.turn(60)
    assert retention.dropped == 1
    for years, problem in ((5, "put ahead by 1825 days: restart"), (0, None), (-5, None)):
        retention._next = 0
        monkeypatch.setattr("time.time", lambda: now + years * 365 * DAY + 60)  # noqa: B023
        retention.turn(60)
        assert retention.dropped == 1
        assert retention.problem is None if problem is None else problem in str(retention.problem)


def test_retention_takes_turns(embedded: SqliteArchive) -> None:
    now = int(time.time())
    embedded.store(encode([document(n, now - n * DAY) for n in range(1000)]))
    retention = Retention(embedded, 100)
    retention.turn()
    assert 0 < retention.dropped < 899, "one step is all at once"

    def is_done() -> bool:
        retention.turn(0.01)
        return retention.dropped >= 899

    eventually(is_done, "all that is old goes")
    left = [one["time_created"] for one in everything(embedded)]
    assert min(left) >= now - 101 * DAY


def old_upload(number: int, days: int) -> bytes:
    """A message of so many days ago, uploaded late."""
    tree: dict[str, Any] = json.loads(upload(number))
    now = int(time.time())
    return json.dumps({**tree, "time_created": now - days * DAY, "time_uploaded": now}).encode()


@pytest.mark.parametrize("kind", ["sqlite", "couch"])
def test_a_gateway_lets_old_messages_go(
    habitat: HabitatFactory, request: pytest.FixtureRequest, kind: str
) -> None:
    gateway = habitat({"archive": {"keep": 100}}, start=False)
    if kind == "couch":
        couch: CouchServer = request.getfixturevalue("couch")
        database: str = request.getfixturevalue("database")
        gateway.config["archive"]["uri"] = f"{couch.uri(database)}-{{month}}"
    with closing(open_archive(ArchiveConfig(uri=gateway.config["archive"]["uri"]))) as archive:
        archive.prepare()
        now = int(time.time())
        made = [document(n, now - n * 40 * DAY, time_uploaded=now) for n in range(8)]
        archive.store(encode(made))
    gateway.start()
    eventually(
        lambda: gateway.status()["archive"]["counts"].get("dropped", 0) >= 4, "the old ones go"
    )
    assert gateway.scgi("POST", "/message", old_upload(1, 0)).status == 200
    eventually(lambda: gateway.status()["archive"]["backlog"] == 0, "uploads are archived")
    metrics = gateway.scgi("GET", "/metrics").text
    assert 'habitat_sink_counts_total{kind="dropped"' in metrics
    eventually(
        lambda: "old messages dropped" in [one["message"] for one in log_entries(gateway)],
        "it is logged",
    )
    found = gateway.cli("query", "--limit", "all", "--format", "ndjson", "--since", "0")
    times = [json.loads(line)["time_created"] for line in found.stdout.splitlines()]
    assert 3 <= len(times) <= 5
    # In CouchDB a month stays until all of it is that old.
    assert min(times) >= now - (100 + 31) * DAY
