"""Rates: a burst at once, then so many a minute, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from habitat_like.threads import RateLimiter


def test_a_rate_lets_a_burst_in_and_then_so_many_a_minute() -> None:
    rate = RateLimiter(per_minute=60, burst=3, most=10)
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
    rate = RateLimiter(per_min, burst, 1)
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


def test_forged_keys_take_bounded_memory() -> None:
    rate = RateLimiter(60, 1, 100)
    for number in range(1000):
        rate.take(f"F{number}", 0)
        if number % 50 == 0:
            rate.take("A", 0)
    assert rate.remembered == 100
    # Who sends goes on being known.
    assert rate.wait("A", 0) > 0
    assert rate.wait("F1", 0) == 0
