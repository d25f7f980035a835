"""The loads of `make soak`, each for a moment: that they run, and that nothing is lost in them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from habitat_like.message.types import Registry
from tests.faults.ledger import ACKNOWLEDGED, SENT
from tests.soak.catalogue import SCENARIOS
from tests.soak.run import execute
from tests.soak.traffic import A_SECOND, FIRST, Traffic, message
from tests.soak.watch import HOUR, trend

#: Everything at its least.
SCALE = 1e-6


#: The same code as that of overload.nginx, with larger numbers.
SLOW = {"overload.large", "overload.crowded"}


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in SLOW])
def test_a_load_leaves_nothing_lost(name: str) -> None:
    said: list[str] = []
    result = execute(SCENARIOS[name], SCALE, said.append)
    assert result.problem is None, f"{result.problem}\n" + "\n".join(said)
    # So short a run on a busy machine says nothing of rates and times.
    assert [one for one in result.demands if not one.met and not one.timed] == []
    assert result.demands


def test_the_trend_of_what_grows_is_not_flat() -> None:
    chance = random.Random(1)
    times = [float(second) for second in range(600)]
    noise = [chance.gauss(40, 1) for _ in times]
    still = trend(times, noise)
    assert still.flat(1.0)
    growing = trend(times, [one + 6 * at / HOUR * 10 for at, one in enumerate(noise)])
    assert not growing.flat(1.0)
    assert growing.slope - still.slope == pytest.approx(60)
    assert not trend(times, times).flat(1.0)


def test_the_comparison_finds_what_is_lost_and_what_was_never_sent(tmp_path: Path) -> None:
    ids = []
    with Traffic(tmp_path) as traffic:
        # Two runs of the load; the third message of each got no 200.
        for first in (FIRST, FIRST + A_SECOND):
            flags = tmp_path / f"flags of {first}"
            flags.write_bytes(bytes([SENT | ACKNOWLEDGED] * 2 + [SENT, SENT | ACKNOWLEDGED]))
            traffic.note(flags)
            ids += [Registry().parse(message(first + at), None, 0).id for at in range(4)]

        def found(archived: list[str]) -> tuple[int, int]:
            verdict = traffic.compare(sorted(archived))
            assert (verdict.acknowledged, verdict.archived) == (6, len(archived))
            return verdict.lost.count, verdict.foreign.count

        assert found(ids) == (0, 0)
        assert found(ids[:2] + ids[3:]) == (0, 0), "what got no 200 may be archived or not"
        assert found(ids[1:]) == (1, 0)
        assert found(ids[:-1]) == (1, 0)
        assert found([]) == (6, 0)
        for number in ("0000000000", ids[0][:10], "2222222222"):
            assert found([*ids, f"{number}-5f0c9a7be2d14c3f8a6b1d90"]) == (0, 1)
