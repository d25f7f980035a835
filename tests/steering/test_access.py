"""Access rules: who may upload, and how much, whichever action it goes through."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like import config as configuration
from habitat_like.config.addresses import Networks, network_of, parse
from habitat_like.config.keys import AccessConfig, ConfigError
from habitat_like.steering import access as rules
from habitat_like.steering.access import Access, Denied, Rate, TooMany
from tests.conftest import HabitatFactory
from tests.networks.hisparc.support import LIST, event, fields
from tests.networks.hisparc.support import as_utf8 as form
from tests.support.control import ask
from tests.support.gateway import ARCHIVE_SINK, OWN, Habitat, own_actions
from tests.support.log import logged
from tests.support.nginx import Nginx
from tests.support.reply import Reply, one_line
from tests.support.station import archived, body, message

# -- networks

ADDRESSES = st.ip_addresses()
#: Networks that are likely to have something in common with each other and with the addresses.
NETWORKS = st.builds(
    lambda address, prefix: ipaddress.ip_network(
        (address, min(prefix, address.max_prefixlen)), strict=False
    ),
    ADDRESSES,
    st.integers(0, 128),
)


@given(st.lists(NETWORKS), ADDRESSES)
def test_an_address_is_in_the_networks_that_it_is_in(networks: list[Any], address: Any) -> None:
    found = parse(str(address))
    assert found is not None
    # One more that has it.
    near = ipaddress.ip_network((address, address.max_prefixlen // 3), strict=False)
    for known in (networks, [*networks, near]):
        # IPv4 in IPv6 form is a case of its own, below.
        if not any(getattr(one, "ipv4_mapped", None) for one in (address, *(n[0] for n in known))):
            assert (found in Networks(map(str, known))) == any(address in one for one in known)


def is_in(address: str, network: str) -> bool:
    found = parse(address)
    return found is not None and found in Networks([network])


def test_ipv4_in_ipv6_form_is_ipv4() -> None:
    assert parse("::ffff:192.0.2.7") == parse("192.0.2.7")
    assert is_in("::ffff:192.0.2.7", "192.0.2.0/24")
    assert is_in("192.0.2.7", "::ffff:192.0.2.0/120")
    assert not is_in("2001:db8::1", "0.0.0.0/0")
    assert not is_in("192.0.2.7", "::/0")


@pytest.mark.parametrize("text", [None, "", "unix:", "192.0.2", "192.0.2.7:80", "example.org"])
def test_what_is_no_address_is_none(text: str | None) -> None:
    assert parse(text) is None
    assert network_of(text) == ""


def test_of_ipv6_a_network_of_64_bits_is_one() -> None:
    assert network_of("2001:db8:0:1::1") == network_of("2001:db8:0:1:ffff::2")
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8:0:2::1")
    assert network_of("192.0.2.7") != network_of("192.0.2.8")


# -- rates


def test_a_rate_lets_a_burst_in_and_then_so_many_a_minute() -> None:
    rate = Rate(per_minute=60, burst=3)
    taken = []
    for tenth in range(100):
        now = 1000 + tenth / 10
        if not rate.wait("a", now):
            rate.take("a", now)
            taken.append(tenth)
    assert taken[:3] == [0, 1, 2]
    assert len(taken) == 3 + 9
    assert rate.wait("b", 1000) == 0


@given(st.lists(st.floats(0, 10), max_size=200), st.integers(1, 600), st.integers(1, 50))
def test_no_more_than_burst_and_rate_allow(pauses: list[float], per_min: int, burst: int) -> None:
    rate = Rate(per_min, burst)
    now = 0.0
    taken = 0
    for pause in pauses:
        now += pause
        wait = rate.wait("a", now)
        if not wait:
            rate.take("a", now)
            taken += 1
        else:
            assert rate.wait("a", now + wait + 1e-6) == 0
    assert taken <= burst + now * per_min / 60 + 1e-6


def test_forged_callsigns_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_REMEMBERED", 100)
    rate = Rate(60, 1)
    for number in range(1000):
        rate.take(f"F{number}", 0)
        if number % 50 == 0:
            rate.take("A", 0)
    assert rate.remembered == 100
    # Who sends goes on being known.
    assert rate.wait("A", 0) > 0
    assert rate.wait("F1", 0) == 0


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_batch_comes_in_as_a_whole_and_is_paid_for_later() -> None:
    clock = Clock()
    access = Access(AccessConfig(rate_per_address=60, rate_per_callsign=60, rate_burst=5), clock)
    batch = access.enter("192.0.2.7")
    for _ in range(25):
        batch.admit("A")
    with pytest.raises(TooMany) as caught:
        access.enter("192.0.2.7")
    assert caught.value.retry_after == 21
    # The callsign is known from elsewhere, too.
    other = access.enter("192.0.2.8")
    with pytest.raises(TooMany, match=r"callsign: .* A; "):
        other.admit("A")
    other.admit("B")
    clock.now += 21
    access.enter("192.0.2.7").admit("A")
    assert access.refused["rate_address"] == 1
    assert access.refused["rate_callsign"] == 1


def test_a_reload_keeps_what_was_sent_unless_the_rate_changes() -> None:
    access = Access(AccessConfig(rate_per_address=1, rate_burst=1), Clock())
    access.enter("192.0.2.7")
    access.configure(AccessConfig(rate_per_address=1, rate_burst=1, blocked_callsigns=("A",)))
    with pytest.raises(TooMany):
        access.enter("192.0.2.7")
    access.configure(AccessConfig(rate_per_address=2, rate_burst=1))
    access.enter("192.0.2.7")
    access.configure(AccessConfig())
    assert not access.active


def test_denied_is_denied_whatever_is_allowed() -> None:
    access = Access(AccessConfig(allow=("192.0.2.0/24",), deny=("192.0.2.8/29",)))
    access.enter("192.0.2.7")
    for address in ("192.0.2.9", "192.0.3.1", "2001:db8::1", None, "unix:"):
        with pytest.raises(Denied):
            access.enter(address)
    only_deny = Access(AccessConfig(deny=("192.0.2.8/29",)))
    only_deny.enter(None)
    only_deny.enter("2001:db8::1")
    assert access.refused["denied_address"] == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{allow: [192.0.2.1/24]}", "access.allow: 192.0.2.1/24 has host bits set"),
        ("{deny: [example.org]}", "access.deny"),
        ("{deny: 192.0.2.0/24}", "access.deny"),
        ("{deny: ['']}", "access.deny"),
        ("{blocked_callsigns: ['M0 ZDR']}", "access.blocked_callsigns"),
        ("{rate_per_address: 0}", "access.rate_per_address"),
        ("{rate_burst: 0}", "access.rate_burst"),
        ("{dney: []}", "access.deny"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(f"access: {text}\n")
    with pytest.raises(ConfigError) as caught:
        configuration.load(str(path), {})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_come_from_the_environment_too() -> None:
    environ = {"HABITAT_ACCESS_DENY": "192.0.2.0/24, 2001:db8::/32"}
    assert configuration.load(None, environ).access.deny == ("192.0.2.0/24", "2001:db8::/32")


# -- a gateway behind nginx


class Stations:
    """A gateway behind nginx; ``post`` uploads from any address."""

    def __init__(self) -> None:
        config = own_actions("push", "lane")
        config["networks"] = {"hisparc": {"station_list": "stations.csv"}}
        self.gateway = Habitat(config, own=OWN)
        (self.gateway.directory / "stations.csv").write_text(LIST)
        # What nginx takes for the client's address, as behind a proxy that it trusts.
        self.front = Nginx(
            self.gateway, in_server="set_real_ip_from 127.0.0.1; real_ip_header X-Test-From;"
        )

    def post(self, payload: bytes, path: str = "/message", ip: str = "192.0.2.7") -> Reply:
        return self.front.request("POST", path, payload, {"X-Test-From": ip})

    def restrict(self, **access: Any) -> None:
        """Put these rules in force, and no others."""
        self.gateway.config["access"] = access
        self.gateway.write_config()
        answer = ask(self.gateway, {"command": "reload"})
        assert (answer["restart"], answer["problems"]) == ([], []), answer

    def refused(self) -> dict[str, int]:
        found: dict[str, int] = self.gateway.status()["access_refused"]
        return found


@pytest.fixture(scope="module")
def shared() -> Iterator[Stations]:
    made = Stations()
    try:
        made.gateway.start()
        made.front.start()
        yield made
    finally:
        made.front.close()
        made.gateway.close()


@pytest.fixture
def stations(shared: Stations) -> Iterator[Stations]:
    """The file's gateway; each test leaves it without rules."""
    yield shared
    shared.restrict()


def batch(*callsigns: str) -> bytes:
    return b"\n".join(body(number, callsign) for number, callsign in enumerate(callsigns))


def test_a_denied_network_gets_403_through_every_action(stations: Stations) -> None:
    stations.restrict(deny=["198.51.100.0/24", "2001:db8:bad::/48"])
    before = stations.refused()["denied_address"]
    for ip in ("198.51.100.9", "2001:db8:bad::1"):
        for path in ("/message", "/messages", "/push", "/lane", "/upload"):
            reply = stations.post(body(1), path, ip)
            assert reply.status == 403, path
            assert one_line(reply) == "this address may not upload here"
        assert stations.post(body(1), "/nothing", ip).status == 404
    assert stations.post(body(1)).status == 200
    assert stations.post(body(2), ip="2001:db8:1::1").status == 200
    assert stations.refused()["denied_address"] == before + 10
    metrics = stations.gateway.scgi("GET", "/metrics").text
    assert f'habitat_access_refused_total{{reason="denied_address"}} {before + 10}.0' in metrics


def test_only_allowed_networks_may_upload_but_operators_see_the_pages(stations: Stations) -> None:
    stations.restrict(allow=["192.0.2.0/24"])
    assert stations.post(body(1)).status == 200
    assert stations.post(body(1), ip="198.51.100.9").status == 403
    # A header that anybody can write says nothing.
    forged = {"X-Test-From": "198.51.100.9", "X-Forwarded-For": "192.0.2.7"}
    assert stations.front.request("POST", "/message", body(1), forged).status == 403
    # This request is of 127.0.0.1, which is not allowed to upload.
    for page in ("/", "/status", "/metrics", "/healthz", "/readyz"):
        assert stations.gateway.scgi("GET", page).status == 200, page
    assert stations.gateway.scgi("POST", "/message", body(1)).status == 403


def test_a_blocked_callsign_gets_403_through_every_action(stations: Stations) -> None:
    stations.restrict(blocked_callsigns=["n0call", "501"])
    written = stations.gateway.status()["messages"]["written"]
    for path in ("/message", "/push"):
        reply = stations.post(body(1, "N0call"), path)
        assert reply.status == 403, path
        assert one_line(reply) == "callsign: N0CALL may not upload here"
    callsign = "501"
    upload = form(fields([event(1)]))
    reply = stations.post(upload, "/upload")
    assert (reply.status, one_line(reply)) == (403, f"callsign: {callsign} may not upload here")
    assert stations.gateway.status()["messages"]["written"] == written
    assert stations.post(form(fields([event(1)], 502, "geheim")), "/upload").text == "100"
    assert stations.post(body(1, "N0CALLS")).status == 200


def test_in_messages_a_blocked_callsign_is_one_result(stations: Stations) -> None:
    stations.restrict(blocked_callsigns=["N0CALL"])
    reply = stations.post(batch("A1", "N0CALL", "A2"), "/messages")
    assert reply.status == 207
    answer = reply.json()
    assert answer["accepted"] == 2
    assert answer["results"][1] == {"error": "callsign: N0CALL may not upload here"}
    assert stations.post(batch("N0CALL", "N0CALL"), "/messages").status == 403
    assert stations.post(batch("N0CALL") + b"\n{}", "/messages").status == 400
    callsigns = {one["callsign"] for one in stations.gateway.documents()}
    assert {"A1", "A2"} <= callsigns
    assert "N0CALL" not in callsigns


def test_too_many_messages_of_an_address_get_429_with_retry_after(stations: Stations) -> None:
    stations.restrict(rate_per_address=1, rate_burst=3)
    for number in range(3):
        assert stations.post(body(number, "R1")).status == 200
    for path in ("/message", "/messages", "/push", "/lane", "/upload"):
        reply = stations.post(body(4, "R1"), path)
        assert reply.status == 429, path
        assert 0 < int(reply.headers["retry-after"]) <= 60
        assert "this address" in one_line(reply)
    # Another address of the same station's IPv6 network is the same, another network is not.
    for _ in range(3):
        stations.post(b"no message", ip="2001:db8:0:1::1")
    assert stations.post(body(5), ip="2001:db8:0:1::2").status == 429
    assert stations.post(body(5), ip="2001:db8:0:2::1").status == 200
    assert stations.post(body(6, "R1"), ip="192.0.2.8").status == 200


def test_too_many_messages_of_a_callsign_get_429_with_retry_after(stations: Stations) -> None:
    stations.restrict(rate_per_callsign=1, rate_burst=2)
    for number in range(2):
        assert stations.post(body(number, "R2"), ip=f"192.0.2.{number}").status == 200
    for path in ("/message", "/push"):
        reply = stations.post(body(3, "r2"), path)
        assert reply.status == 429, path
        assert 0 < int(reply.headers["retry-after"]) <= 60
        assert "R2" in one_line(reply)
    reply = stations.post(batch("R2", "R3"), "/messages")
    assert (reply.status, reply.json()["accepted"]) == (207, 1)
    refused = reply.json()["results"][0]
    assert 0 < refused["retry_after"] <= 60
    assert int(reply.headers["retry-after"]) == refused["retry_after"]
    reply = stations.post(batch("R2", "R2"), "/messages")
    assert (reply.status, reply.json()["accepted"]) == (429, 0)
    assert int(reply.headers["retry-after"]) > 0


def test_a_batch_larger_than_the_burst_comes_in(stations: Stations) -> None:
    stations.restrict(rate_per_callsign=60, rate_per_address=60, rate_burst=2)
    reply = stations.post(batch(*["R4"] * 50), "/messages", "192.0.2.50")
    assert (reply.status, reply.json()["accepted"]) == (200, 50)
    events = [event(number) for number in range(20)]
    assert stations.post(form(fields(events)), "/upload", "192.0.2.51").text == "100"
    assert stations.post(body(1, "R4"), ip="192.0.2.52").status == 429
    assert stations.post(body(1, "R5"), ip="192.0.2.50").status == 429


def test_a_reload_with_a_wrong_network_is_refused_and_the_old_rules_stay(
    stations: Stations,
) -> None:
    stations.restrict(deny=["192.0.2.7"])
    stations.gateway.config["access"] = {"deny": ["192.0.2.7/24"]}
    stations.gateway.write_config()
    assert "access.deny" in ask(stations.gateway, {"command": "reload"})["error"]
    assert stations.post(body(1)).status == 403
    assert not logged(stations.gateway, "action failed")


def test_what_sinks_push_is_not_restricted(habitat: HabitatFactory) -> None:
    config = {"access": {"blocked_callsigns": ["ECHO"]}, "sinks": [ARCHIVE_SINK, "own.Echo"]}
    gateway = habitat(config, own=OWN)
    assert gateway.scgi("POST", "/message", body(1)).status == 200
    gateway.wait_until_archived()
    assert archived(gateway) == [1, 2]
    assert gateway.scgi("POST", "/message", json.dumps(message(1, "ECHO"))).status == 403
