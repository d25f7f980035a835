"""The demonstration that the tests of a file look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.demo.running import Demo
from tests.support.checkout import checkout
from tests.support.wait import PATIENCE


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demonstration that serves."""
    one = Demo(checkout(tmp_path_factory.mktemp("demo") / "a checkout"))
    try:
        one.address()
        yield one
        one.stop()
    finally:
        one.process.kill()
        one.process.wait(PATIENCE)
