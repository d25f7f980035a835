"""The embedded archive for people who may read it, and write neither it nor beside it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from habitat_like.archive import ArchiveUnavailable, Query
from habitat_like.archive.sqlite import SqliteArchive
from tests.support.archive import batch
from tests.support.net import short_directory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def path() -> Iterator[Path]:
    directory = short_directory()
    directory.chmod(0o755)
    archive = SqliteArchive(str(directory / "archive.sqlite"))
    archive.prepare()
    assert archive.store(batch(3)) == []
    archive.close()
    (directory / "archive.sqlite").chmod(0o644)
    yield directory / "archive.sqlite"
    shutil.rmtree(directory)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Everything in here is done without the rights of root."""
    user = pwd.getpwnam("nobody")
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def found(path: Path) -> int:
    """How many documents a reader without rights finds."""
    with nobody(), contextlib.closing(SqliteArchive(str(path))) as archive:
        return len(list(archive.query(Query())))


def test_it_is_read_while_no_gateway_runs(path: Path) -> None:
    assert found(path) == 3
    assert os.listdir(path.parent) == [path.name]


def test_it_is_read_while_a_gateway_runs(path: Path) -> None:
    with contextlib.closing(SqliteArchive(str(path))) as writer:
        writer.prepare()
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").chmod(0o644)
        assert writer.store(batch(5)) == []
        assert found(path) == 5


def test_a_reader_that_began_before_the_gateway_sees_what_comes_in(path: Path) -> None:
    with contextlib.closing(SqliteArchive(str(path))) as reader:
        with nobody():
            assert len(list(reader.query(Query()))) == 3
        with contextlib.closing(SqliteArchive(str(path))) as writer:
            assert writer.store(batch(5)) == []
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").chmod(0o644)
            with nobody():
                assert len(list(reader.query(Query()))) == 5
        with nobody():
            assert len(list(reader.query(Query()))) == 5


def test_what_can_not_be_read_is_told_as_that(path: Path) -> None:
    path.chmod(0o600)
    with pytest.raises(ArchiveUnavailable, match="no permission to read it"):
        found(path)
    path.chmod(0o644)
    # The log of a gateway that was killed, without its shared memory.
    Path(f"{path}-wal").write_bytes(b"x" * 100)
    with pytest.raises(ArchiveUnavailable, match="start the gateway") as caught:
        found(path)
    assert "write" not in str(caught.value)
    assert "\n" not in str(caught.value)
