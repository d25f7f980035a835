"""Many stations at once, through nginx into the CouchDB-protocol server, and crashes meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.load import Identity, Load, Outcome, counted, sent, upload
from tests.support.wait import eventually


def archived(couch: CouchServer, database: str, gateway: Habitat) -> Counter[Identity]:
    """What is archived once the journal is empty, and how often."""
    gateway.wait_until_archived()
    return counted(couch.all_docs(database))


def check(found: Counter[Identity], bodies: list[bytes], outcome: Outcome) -> None:
    assert set(found.values()) == {1}, "a message was archived more than once"
    assert len(found) == len(bodies)
    assert set(found) == sent(bodies)
    assert sent(outcome.answered) == sent(bodies)


def wait_for_batches(gateway: Habitat, messages: int) -> None:
    eventually(
        lambda: gateway.status()["archive"]["messages"] >= messages,
        f"{messages} messages are archived",
    )


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Iterable[None]:
    """Show a test's report also when it passes."""
    yield
    output = capsys.readouterr().out
    with capsys.disabled():
        print(f"\n{request.node.name}: {output.strip()}")


@pytest.mark.usefixtures("tell")
def test_ten_thousand_uploads_over_64_connections_are_ten_thousand_documents(
    habitat: HabitatFactory, nginx: NginxFactory, couch: CouchServer, database: str
) -> None:
    gateway = habitat({"archive": {"uri": couch.uri(database)}, "log": {"level": "info"}})
    front = nginx(gateway)
    bodies = [upload(number) for number in range(10_000)]
    with Load(front.address, bodies, retry=False) as load:
        outcome = load.join()
    print(outcome.report())
    assert outcome.statuses == {200: 10_000}
    assert outcome.broken == 0
    check(archived(couch, database, gateway), bodies, outcome)
    assert gateway.status()["dead_letters"] == 0


def test_two_hundred_receivers_of_one_packet_are_two_hundred_documents(
    habitat: HabitatFactory, nginx: NginxFactory, couch: CouchServer, database: str
) -> None:
    gateway = habitat({"archive": {"uri": couch.uri(database)}})
    front = nginx(gateway)
    bodies = [upload(7, callsign=f"RX{number}") for number in range(200)]
    with Load(front.address, bodies, connections=200, retry=False) as load:
        outcome = load.join()
    assert outcome.statuses == {200: 200}
    found = archived(couch, database, gateway)
    assert len({packet for _, packet in found}) == 1
    check(found, bodies, outcome)


def test_two_gateways_behind_one_nginx_take_every_upload_twice_and_archive_it_once(
    habitat: HabitatFactory, nginx: NginxFactory, couch: CouchServer, database: str
) -> None:
    gateways = [habitat({"archive": {"uri": couch.uri(database)}}) for _ in range(2)]
    servers = "".join(f"server unix:{gateway.socket_path};" for gateway in gateways)
    params = "include /etc/nginx/scgi_params;"
    front = nginx(
        gateways[0],
        in_http=f"upstream habitat {{ {servers} }}",
        block=f"location / {{ {params} scgi_pass habitat; }}",
    )
    bodies = [upload(number) for number in range(1_000)]
    with Load(front.address, [*bodies, *bodies], connections=32, retry=False) as load:
        outcome = load.join()
    assert outcome.statuses == {200: 2_000}
    assert all(gateway.status()["messages"]["accepted"] > 0 for gateway in gateways)
    gateways[1].wait_until_archived()
    check(archived(couch, database, gateways[0]), bodies, outcome)


@pytest.mark.usefixtures("tell")
def test_a_gateway_killed_twice_under_load_loses_and_doubles_nothing(
    habitat: HabitatFactory, nginx: NginxFactory, couch: CouchServer, database: str
) -> None:
    gateway = habitat({"archive": {"uri": couch.uri(database)}, "log": {"level": "info"}})
    front = nginx(gateway)
    bodies = [upload(number) for number in range(4_000)]
    with Load(front.address, bodies) as load:
        for goal in (1_000, 2_000):
            load.wait_for(goal)
            gateway.restart(kill=True)
        outcome = load.join()
    print(outcome.report())
    assert outcome.broken + outcome.statuses[503] > 0, "no upload was hit by the crash"
    check(archived(couch, database, gateway), bodies, outcome)


@pytest.mark.usefixtures("tell")
def test_an_archive_killed_twice_under_load_loses_and_doubles_nothing(
    habitat: HabitatFactory, nginx: NginxFactory, couch: CouchServer, database: str
) -> None:
    # Small batches, so that the kill comes in the middle of many.
    config = {"archive": {"uri": couch.uri(database), "batch": 50}, "log": {"level": "info"}}
    gateway = habitat(config)
    front = nginx(gateway)
    bodies = [upload(number) for number in range(4_000)]
    late = [upload(number) for number in range(4_000, 4_002)]
    with Load(front.address, bodies, retry=False) as load:
        for part, one in zip((0.1, 0.4), late, strict=True):
            wait_for_batches(gateway, int(len(bodies) * part))
            couch.kill()
            # Whatever the archive was quick enough to take before, there is something left.
            assert gateway.scgi("POST", "/message", one).status == 200
            eventually(
                lambda: gateway.status()["archive"]["state"] == "waiting",
                "the gateway has noticed",
            )
            couch.start()
            eventually(
                lambda: gateway.status()["archive"]["state"] == "ok", "the archive works again"
            )
        outcome = load.join()
    print(outcome.report())
    assert outcome.statuses == {200: len(bodies)}, "the archive's crash was felt by a station"
    outcome.answered += late
    check(archived(couch, database, gateway), bodies + late, outcome)
    assert gateway.status()["dead_letters"] == 0
