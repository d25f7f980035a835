"""A gateway whose clock is wrong: before the network tells it the time, or set back later."""

from __future__ import annotations

import json
import time

import pytest

from habitat_like.cli.check import check_clock
from habitat_like.config.keys import Config
from tests.conftest import HabitatFactory
from tests.faults.shim import Shim
from tests.support.gateway import Habitat
from tests.support.messages import TELEM

Placed = tuple[Habitat, Shim]


@pytest.fixture
def placed(habitat: HabitatFactory) -> Placed:
    """A gateway, not started, and the library that moves its clock."""
    gateway = habitat(start=False)
    shim = Shim(gateway.directory)
    gateway.environ.update(shim.environ)
    return gateway, shim


def uploaded(gateway: Habitat, created: int) -> bytes:
    """Upload a message that a station with a right clock made at ``created``."""
    message = {**TELEM, "time_created": created, "time_uploaded": created + 9}
    body = json.dumps(message).encode()
    assert gateway.scgi("POST", "/message", body).status == 200
    gateway.wait_until_archived()
    return body


def found(gateway: Habitat, *options: str) -> list[dict[str, object]]:
    """What a query finds."""
    answer = gateway.cli("query", "--format", "json", "--limit", "all", *options)
    assert answer.returncode == 0, answer.stderr
    documents: list[dict[str, object]] = json.loads(answer.stdout)
    return documents


@pytest.mark.parametrize("clock", [100, 946_684_800, 1_700_000_000])
def test_what_comes_in_before_the_clock_is_set_has_the_stations_times_and_is_marked(
    placed: Placed, clock: int
) -> None:
    gateway, shim = placed
    shim.move_clock(clock - time.time())
    gateway.start()
    created = int(time.time()) - 60
    body = uploaded(gateway, created)
    assert found(gateway) == []
    (document,) = found(gateway, "--suspicious")
    assert (document["time_created"], document["time_uploaded"]) == (created, created + 9)
    assert "the gateway's clock was wrong" in str(document["suspicious"])

    shim.move_clock(0)
    gateway.restart()
    # The station's retry is the same message; another one has nothing wrong.
    assert gateway.scgi("POST", "/message", body).status == 200
    uploaded(gateway, created + 1)
    (document,) = found(gateway)
    assert document["_id"].startswith(f"{created + 1:010d}-")  # type: ignore[attr-defined]
    assert len(found(gateway, "--suspicious")) == 2


def test_check_finds_a_clock_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(check_clock(Config())) == []
    monkeypatch.setattr(time, "time", lambda: 100.0)
    (finding,) = check_clock(Config())
    assert (finding.mark, finding.subject) == ("error", "clock")
    assert "it shows 1970-01-01" in finding.text
