"""Several nodes in archive.uri: whatever one of them does, the others take over, and once each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from habitat_like.archive import ArchiveError, Query, open_archive
from habitat_like.archive.couch import CouchArchive
from habitat_like.config.keys import ArchiveConfig
from tests.conftest import HabitatFactory
from tests.support.archive import batch, everything, fails, found_ids, ids, message, sent_ids
from tests.support.cluster import Cluster
from tests.support.couch import CouchServer
from tests.support.load import identity, upload
from tests.support.log import wait_for_log
from tests.support.proxy import (
    Action,
    Answer,
    CutOff,
    Drop,
    Hang,
    Narrow,
    Proxy,
    Rewrite,
    Rule,
    Slow,
    on,
)
from tests.support.wait import PATIENCE, eventually


@pytest.fixture
def cluster(couch: CouchServer) -> Iterator[Cluster]:
    with closing(Cluster(couch)) as made:
        yield made


Opener = Callable[..., CouchArchive]


@pytest.fixture
def opener(cluster: Cluster, database: str) -> Iterator[Opener]:
    opened: list[CouchArchive] = []

    def open_it(timeout: float = PATIENCE) -> CouchArchive:
        config = ArchiveConfig(uri=cluster.uri(database), timeout=timeout)
        archive = open_archive(config)
        assert isinstance(archive, CouchArchive)
        opened.append(archive)
        return archive

    yield open_it
    for archive in opened:
        archive.close()


@pytest.fixture
def archive(opener: Opener) -> CouchArchive:
    made = opener()
    assert made.prepare() == []
    return made


def bulk(action: Action) -> Rule:
    return on("POST", "/_bulk_docs", action)


#: CouchDB 3.5 after five wrong passwords, and a node in maintenance that has no other to ask.
LOCKED = Answer(403, reason="Account is temporarily locked due to multiple authentication failures")
MAINTENANCE = Answer(412, b'{"error":"nodedown","reason":"node2@127.0.0.1"}')


def not_stored(method: str, path: str, body: bytes) -> Action | None:
    """Rows that say that the node can't, and a node that stores nothing."""
    if "_bulk_docs" not in path:
        return None
    said = [
        {"id": one["_id"], "error": "internal_server_error"} for one in json.loads(body)["docs"]
    ]
    return Answer(201, json.dumps(said).encode())


#: What a node does to a batch, in every phase of it.
LOSSES: dict[str, Rule] = {
    "closes before it reads": on("*", "", Drop()),
    "resets before it reads": on("*", "", Drop(reset=True)),
    "503 on everything": on("*", "", Answer(503)),
    "503 for the batch": bulk(Answer(503)),
    "500 although stored": bulk(Rewrite(500)),
    "429": bulk(Answer(429)),
    "401, its own admins differ": bulk(Answer(401, reason="Name or password is incorrect.")),
    "403, its own admins differ": bulk(LOCKED),
    "412, in maintenance": bulk(MAINTENANCE),
    "202, stored on too few": bulk(Rewrite(202)),
    "200 for 201": bulk(Rewrite(200)),
    "rows that say error": not_stored,
    "a page of something else": bulk(Answer(200, b"<html>welcome</html>", "text/html")),
    "stored, then closed": bulk(Drop(forward=True)),
    "stored, then reset": bulk(Drop(forward=True, reset=True)),
    "an answer cut off": bulk(CutOff(0.5)),
    "an answer cut off before its body": bulk(CutOff(0)),
    "an answer reset half-way": bulk(CutOff(0.5, reset=True)),
}
#: Those that only time tells.
STILLS: dict[str, Rule] = {
    "hangs": bulk(Hang()),
    "stored, then hangs": bulk(Hang(forward=True)),
    "slow": bulk(Slow(PATIENCE)),
    "trickles": bulk(Narrow(20)),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("lost", [1, 2])
def test_a_batch_goes_to_another_node_at_once(
    cluster: Cluster, archive: CouchArchive, name: str, lost: int
) -> None:
    cluster.rule(LOSSES[name], range(lost))
    assert archive.store(batch(20)) == []
    cluster.rule(None)
    assert found_ids(archive) == sent_ids(batch(20))


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that works is given as long as it may take on a busy machine."""
    monkeypatch.setattr("habitat_like.archive.couch_cluster.STILL", 16.0)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("name", STILLS)
def test_a_node_that_hangs_is_left_within_seconds(
    cluster: Cluster, archive: CouchArchive, name: str
) -> None:
    cluster.rule(STILLS[name], range(2))
    begun = time.monotonic()
    assert archive.store(batch(20)) == []
    assert archive.store(batch(20, start=20)) == []
    assert time.monotonic() - begun < PATIENCE / 2, "it waited for archive.timeout"
    asked = [node.count("POST", "/_bulk_docs") for node in cluster.nodes]
    assert archive.store(batch(20, start=40)) == []
    again = [node.count("POST", "/_bulk_docs") for node in cluster.nodes]
    assert again == [asked[0], asked[1], asked[2] + 1], "the next batch met them again"
    cluster.heal()
    assert found_ids(archive) == sent_ids(batch(60))


def test_a_node_that_hangs_holds_up_the_others_for_what_is_known(
    cluster: Cluster, archive: CouchArchive, couch: CouchServer, database: str
) -> None:
    """CouchDB answers a conflict when every copy has, and takes the node for alive for a minute."""

    def waits(method: str, path: str, body: bytes) -> Action | None:
        if "_bulk_docs" not in path:
            return None
        sent = {one["_id"] for one in json.loads(body)["docs"]}
        return Hang() if sent & set(couch.ids(database)) else None

    cluster.rule(waits)
    cluster.rule(bulk(Hang(forward=True)), [0])
    begun = time.monotonic()
    assert archive.store(batch(20)) == [], "the node that hangs has passed it on"
    assert archive.store(batch(25)) == []
    assert time.monotonic() - begun < PATIENCE / 2
    # Known to a node that is alone, which is no proof.
    cluster.rule(lambda *asked: Rewrite(202) if asked[0] == "PUT" else waits(*asked))
    assert "no write reaches the quorum" in fails(lambda: archive.store(batch(25)))
    cluster.heal()
    assert found_ids(archive) == sent_ids(batch(25))


def test_all_nodes_have_locked_the_account(cluster: Cluster, archive: CouchArchive) -> None:
    cluster.rule(on("*", "", LOCKED))
    assert "after too many wrong passwords" in fails(lambda: archive.store(batch(1)))


def test_a_database_is_not_there_because_its_nodes_are_down(
    cluster: Cluster, archive: CouchArchive
) -> None:
    cluster.rule(lambda method, path, body: Answer(404) if method == "GET" else MAINTENANCE)
    assert "can't serve now (412, node2@127.0.0.1)" in fails(archive.prepare)


def test_a_node_that_refuses_connections(cluster: Cluster, archive: CouchArchive) -> None:
    cluster.nodes[0].refuse()
    cluster.nodes[1].refuse()
    assert archive.store(batch(3)) == []
    assert found_ids(archive) == sent_ids(batch(3))
    words = {node.name: node.state for node in archive.nodes()}
    assert list(words.values()) == ["left", "left", "ok"]


def test_queries_go_on_while_nodes_die_under_them(cluster: Cluster, archive: CouchArchive) -> None:
    documents = [message(number, number // 7) for number in range(1200)]
    assert archive.store(documents) == []
    found = []
    for count, one in enumerate(archive.query(Query(order="asc"))):
        if count == 200:
            cluster.nodes[0].refuse()
        if count == 700:
            cluster.rule(on("*", "", Answer(503)), [1])
        found.append(one)
    assert ids(found) == sent_ids(documents)


def test_all_nodes_gone_and_back(cluster: Cluster, archive: CouchArchive) -> None:
    cluster.rule(on("*", "", Answer(503)))
    fails(lambda: archive.store(batch(5)))
    fails(lambda: archive.store(batch(5)))
    assert {node.state for node in archive.nodes()} == {"left"}
    cluster.heal()
    assert archive.store(batch(5)) == []
    assert found_ids(archive) == sent_ids(batch(5))


def test_202_of_every_node_is_never_durable(cluster: Cluster, archive: CouchArchive) -> None:
    cluster.rule(bulk(Rewrite(202)))
    for _ in range(3):
        assert "202" in fails(lambda: archive.store(batch(5)))
    # What is there now is a conflict everywhere, and one node alone answers 201 for it.
    cluster.rule(on("PUT", "/_local/", Rewrite(202)))
    assert "no write reaches the quorum" in fails(lambda: archive.store(batch(5)))
    cluster.heal()
    assert archive.store(batch(5)) == []
    assert found_ids(archive) == sent_ids(batch(5))


def test_a_node_that_failed_long_is_asked_before_a_batch_is_given_up(
    cluster: Cluster, archive: CouchArchive
) -> None:
    """It works again, and nobody has seen that; the others only say 202."""
    cluster.rule(on("*", "", Answer(503)), [2])
    for _ in range(8):
        archive.ask_nodes()
    cluster.rule(None)
    cluster.rule(bulk(Rewrite(202)), [0, 1])
    assert archive.store(batch(5)) == []
    cluster.heal()
    assert found_ids(archive) == sent_ids(batch(5))


def test_a_node_that_works_again_is_seen(cluster: Cluster, archive: CouchArchive) -> None:
    cluster.nodes[0].refuse()
    assert archive.store(batch(1)) == []
    assert archive.nodes()[0].problem
    cluster.heal()

    def is_well() -> bool:
        archive.tend_nodes()
        return archive.nodes()[0].problem is None

    eventually(is_well, "the node is asked again")


def test_a_slow_cluster_gets_the_whole_timeout(cluster: Cluster, opener: Opener) -> None:
    archive = opener(timeout=PATIENCE)
    archive.prepare()
    cluster.rule(bulk(Slow(3)))  # longer than a node among three gets at first
    assert archive.store(batch(3)) == []
    before = cluster.count("POST", "/_bulk_docs")
    assert archive.store(batch(3, start=3)) == []
    assert cluster.count("POST", "/_bulk_docs") == before + 1, "it forgot how slow they are"
    cluster.heal()
    assert found_ids(archive) == sent_ids(batch(6))


@pytest.fixture
def other(database: str) -> Iterator[CouchServer]:
    """A second server, which knows nothing of the first."""
    with closing(CouchServer()) as made:
        yield made.start()


def open_pair(first: Proxy, second: Proxy, database: str) -> CouchArchive:
    uri = f"couchdb://127.0.0.1:{first.port},127.0.0.1:{second.port}/{database}"
    archive = open_archive(ArchiveConfig(uri=uri, timeout=PATIENCE))
    assert isinstance(archive, CouchArchive)
    return archive


def revisions(couch: CouchServer, database: str) -> dict[str, str]:
    return {one["_id"]: one["_rev"] for one in couch.all_docs(database)}


def test_a_split_in_which_the_nodes_disagree(
    proxy: Proxy, couch: CouchServer, other: CouchServer, database: str
) -> None:
    """The node cut off from the others takes documents, and says 202; the others say 201."""
    with closing(Proxy(other)) as second, closing(open_pair(proxy, second, database)) as archive:
        couch.create(database)
        other.create(database)
        archive.prepare()
        proxy.rule = bulk(Rewrite(202))
        assert archive.store(batch(10)) == []
        assert len(revisions(other, database)) == 10
        # One side is lost while the other is still away: nothing is taken for archived.
        second.refuse()
        fails(lambda: archive.store(batch(20)))
        second.start()
        assert archive.store(batch(20)) == []
        mine, theirs = revisions(couch, database), revisions(other, database)
    assert sorted(theirs) == sent_ids(batch(20))
    # The same content has the same revision: once the split ends they are one document, not two.
    assert mine.items() <= theirs.items()


def test_a_node_that_lost_its_cluster_gets_no_database_of_its_own(
    proxy: Proxy, couch: CouchServer, other: CouchServer, database: str
) -> None:
    with closing(Proxy(other)) as second, closing(open_pair(proxy, second, database)) as archive:
        other.create(database)
        assert archive.prepare() == []
        assert archive.store(batch(3)) == []
        assert ids(everything(archive)) == sent_ids(batch(3))
        assert "which another node has" in str(archive.nodes()[0].problem)
        assert "which another node has" in str(archive.ask_nodes()[0].problem)
    assert database not in couch.databases()


def test_a_node_that_lacks_an_index_is_not_the_last_one_asked(
    cluster: Cluster, archive: CouchArchive
) -> None:
    """It was away when the index was made, and has not caught up yet."""
    archive.store(batch(3))
    no_index = b'{"error":"no_usable_index","reason":"No index exists for this sort"}'
    cluster.rule(on("POST", "/_find", Answer(400, no_index)), range(2))
    assert found_ids(archive) == sent_ids(batch(3))
    cluster.rule(on("POST", "/_find", Answer(400, no_index)))
    assert "has no index habitat-time" in fails(lambda: found_ids(archive), ArchiveError)


def membership(*connected: str) -> Rule:
    nodes = {"all_nodes": connected, "cluster_nodes": ["n1", "n2", "n3"]}
    return on("GET", "/_membership", Answer(200, json.dumps(nodes).encode()))


def test_a_node_that_is_cut_off_makes_no_database(
    proxy: Proxy, couch: CouchServer, other: CouchServer, database: str
) -> None:
    with closing(Proxy(other)) as second, closing(open_pair(proxy, second, database)) as archive:
        proxy.rule = second.rule = membership("n1")
        assert "too few nodes of its cluster" in fails(archive.prepare)
        second.rule = membership("n2", "n3")
        assert archive.prepare() == []
        assert archive.store(batch(3)) == []
        assert len(revisions(other, database)) == 3
    assert database not in couch.databases()


def test_a_gateway_archives_whatever_its_nodes_do(
    habitat: HabitatFactory, cluster: Cluster, couch: CouchServer, database: str
) -> None:
    config = {"uri": cluster.uri(database), "batch": 5, "timeout": PATIENCE}
    gateway = habitat({"archive": {**config, "retry_min": 0.05, "retry_max": 0.1}})
    sent = 0

    def send(count: int) -> None:
        nonlocal sent
        for number in range(sent, sent + count):
            assert gateway.scgi("POST", "/message", upload(number)).status == 200
        sent += count

    def is_archived() -> bool:
        backlog: int = gateway.status()["archive"]["backlog"]
        return backlog == 0

    for round_ in range(2):
        for number, name in enumerate(LOSSES):
            cluster.rule(LOSSES[name], [(number + round_) % 3])
            send(5)
            eventually(is_archived, f"all is archived: {name}")
            cluster.rule(None)
    cluster.rule(on("*", "", Answer(503)))
    send(12)
    eventually(lambda: gateway.status()["archive"]["state"] == "waiting", "the outage is met")
    nodes: list[dict[str, Any]] = gateway.status()["archive"]["nodes"]
    assert [node["state"] for node in nodes] == ["left"] * 3
    assert all("503" in node["problem"] for node in nodes)
    cluster.heal()
    eventually(is_archived, "all is archived")
    found = [identity(document) for document in couch.all_docs(database)]
    assert sorted(found) == sorted(identity(json.loads(upload(n))) for n in range(sent))
    assert wait_for_log(gateway, "archive node left")
    assert gateway.status()["archive"]["dead_letters"] == 0
    gateway.stop()
    cluster.nodes[1].refuse()
    checked = gateway.cli("check")
    assert checked.returncode == 1
    assert f"127.0.0.1:{cluster.nodes[0].port} stores documents" in checked.stdout
    assert f"127.0.0.1:{cluster.nodes[1].port} can't be reached" in checked.stdout
    assert "can be used" in checked.stdout
