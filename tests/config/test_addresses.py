"""Addresses: one is one, however it is written."""

from __future__ import annotations

import pytest

from habitat_like.config.addresses import IpNetworks, parse, plain
from habitat_like.message.message import Listener

MAPPED = [
    "::ffff:192.0.2.1",
    "::FFFF:192.0.2.1",
    "::ffff:c000:201",
    "0:0:0:0:0:ffff:192.0.2.1",
    "0000:0000:0000:0000:0000:ffff:c000:0201",
]


@pytest.mark.parametrize("text", MAPPED)
def test_an_ipv4_address_in_ipv6s_form_is_ipv4(text: str) -> None:
    assert plain(text) == "192.0.2.1"
    assert Listener("M0ZDR", text).ip == "192.0.2.1"
    assert parse(text) == parse("192.0.2.1")
    address = parse(text)
    assert address is not None
    assert address in IpNetworks(["192.0.2.0/24"])
    assert address in IpNetworks([f"{text}"])


@pytest.mark.parametrize(
    "text", ["192.0.2.1", "2001:db8::1", "::1", "fe80::1%eth0", "unix:", "", "::fffe:192.0.2.1"]
)
def test_other_addresses_stay_as_they_are(text: str) -> None:
    assert plain(text) == text
