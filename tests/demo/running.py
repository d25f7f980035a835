"""A `make demo` that runs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from habitat_like.archive import Query, open_archive
from habitat_like.config.keys import ArchiveConfig
from tests.support.checkout import Running
from tests.support.console import basic
from tests.support.reply import Reply, http_request


class Demo(Running):
    """A `make demo` after the set-up."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, "demo")

    @property
    def password(self) -> str:
        """The operator's."""
        return (self.var / "console-password").read_text().strip()

    def get(self, path: str) -> Reply:
        """A page of the console."""
        headers = basic("operator", self.password)
        return http_request(self.address(), "GET", f"/console/{path}", headers=headers)

    def page(self, path: str) -> Any:
        """What a page of the console says."""
        reply = self.get(path)
        assert reply.status == 200, reply.text
        return reply.json()

    def numbers(self, payload: str) -> set[int]:
        """The numbers of a payload's sentences today, as the parser stored them."""
        uri = f"sqlite:{self.var / 'data' / 'archive.sqlite'}"
        with contextlib.closing(open_archive(ArchiveConfig(uri=uri))) as archive:
            today = Query(type="TELEM", callsign=payload, since=int(time.time()) - 43200)
            return {one["data"]["sequence"] for one in archive.query(today)}
