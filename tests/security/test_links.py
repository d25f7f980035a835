"""Commands that root runs in another user's directory: nobody gets root's files by them."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from habitat_like import passwords
from habitat_like.console import users
from habitat_like.disk import Directory, open_stream
from habitat_like.http.listening_socket import ListenError, listen_at
from habitat_like.steering.maintenance import MaintenanceFile
from tests.conftest import HabitatFactory
from tests.security.swap import SECRET, THEM
from tests.support.gateway import Habitat
from tests.support.messages import GOOD
from tests.support.net import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="it is root who must take care")

USERS = f"bob:{passwords.make_hash('old', 2**4)}\n"


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Habitat:
    """A gateway that has archived a message, and was stopped."""
    made = Habitat()
    made.config["console"] = {"password_file": "unset"}
    made.config.pop("console")
    made.start()
    assert made.scgi("POST", "/message", GOOD).status == 200
    made.wait_until_archived()
    assert made.stop() == 0
    return made


def attack(
    gateway: Habitat, base: Path, words: list[str], files: dict[str, str], *names: str
) -> dict[str, Any]:
    """What came of the command ``words``, of which a swap is made before each step."""
    script = ROOT / "tests" / "security" / "swap.py"
    arguments = [str(base), json.dumps(files), json.dumps(words), *names]
    gateway.config["console"] = {"password_file": str(base / "theirs" / "users")}
    gateway.write_config()
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=gateway.environ,
        cwd=base,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["console", "passwd", "alice"], {"users": USERS}),
        (["console", "passwd", "alice"], {}),
        (["console", "passwd", "--remove", "bob"], {"users": USERS}),
        (["export", "theirs/out.ndjson"], {}),
        (["export", "theirs/out.ndjson"], {"out.ndjson": "old\n", "out.ndjson.part": "half"}),
        (["export", "theirs/out.csv.gz"], {"out.csv.gz.part.json": "{}"}),
        (["export", "--resume", "theirs/out.ndjson"], {"out.ndjson.part": "half"}),
        (["journal", "export", "--backlog", "theirs/out.ndjson"], {}),
        (["journal", "export", "theirs/out.ndjson"], {"out.ndjson": "old\n"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "+".join(value) or "nothing",
)
def test_a_swap_before_any_step_gets_nothing_of_roots(
    archived: Habitat, tmp_path: Path, words: list[str], files: dict[str, str]
) -> None:
    target = words[-1].removeprefix("theirs/") if "export" in words else "users"
    names = [target] if target == "users" else [f"{target}.part", f"{target}.part.json"]
    result = attack(archived, tmp_path, words, files, *names)
    assert result["steps"] >= 2, "the swaps came in between"
    assert result["faults"] == []


# -- what is there from the begin


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Another user's directory."""
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, THEM, THEM)
    return path


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of root's alone."""
    path = tmp_path / "precious"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


def their_link(path: Path, target: Path | str) -> None:
    path.symlink_to(target)
    os.chown(path, THEM, THEM, follow_symlinks=False)


def test_passwd_keeps_whose_the_file_is(theirs: Path) -> None:
    path = theirs / "users"
    path.write_text(USERS)
    path.chmod(0o640)
    os.chown(path, THEM, 12)
    assert not users.write(path, "alice", "new")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (THEM, 12, 0o640)
    assert path.read_text().startswith(f"{USERS}alice:scrypt$")


@pytest.mark.parametrize("second", ["link", "hard link", "pipe"])
def test_passwd_says_what_is_in_the_place_of_the_file(
    habitat: HabitatFactory, theirs: Path, precious: Path, second: str
) -> None:
    path = theirs / "users"
    make = {"link": path.symlink_to, "hard link": path.hardlink_to}
    make.get(second, lambda _: os.mkfifo(path))(precious)
    gateway = habitat({"console": {"password_file": str(path)}}, start=False)
    done = gateway.cli("console", "passwd", "alice", stdin="a new password\n")
    why = {"link": "it is a link", "hard link": "another name", "pipe": "not a regular file"}[
        second
    ]
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert str(path) in done.stderr
    assert why in done.stderr
    assert precious.read_text() == SECRET


def test_an_export_takes_no_part_of_another_user(archived: Habitat, theirs: Path) -> None:
    part = theirs / "out.ndjson.part"
    part.touch()
    os.chown(part, THEM, THEM)
    done = archived.cli("export", str(theirs / "out.ndjson"))
    assert done.returncode == 1
    assert done.stderr == f"habitat: {part}: it belongs to another user; remove it\n"
    assert part.read_bytes() == b""


def test_roots_own_links_are_followed_and_theirs_are_not(theirs: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    own = tmp_path / "own"
    own.symlink_to(there)
    with Directory(own) as directory, directory.replacing("file", 0o600) as file:
        file.write(b"ours")
    assert (there / "file").read_bytes() == b"ours"
    their_link(theirs / "link", there)
    with pytest.raises(OSError, match="link is a link of another user"), Directory(theirs / "link"):
        pass


@pytest.mark.parametrize("what", ["device", "pipe", "link to a pipe"])
def test_no_stream_of_another_user_is_written_to(theirs: Path, tmp_path: Path, what: str) -> None:
    """A link could lead to a disk; a pipe may have no reader, ever."""
    path = theirs / "stream"
    if what == "device":
        their_link(path, "/dev/null")
    elif what == "pipe":
        os.mkfifo(path)
        os.chown(path, THEM, THEM)
    else:
        os.mkfifo(tmp_path / "pipe")
        their_link(path, tmp_path / "pipe")
    with pytest.raises(OSError, match="of another user"):
        open_stream(path)


def test_the_shells_streams_are_written_to(archived: Habitat, tmp_path: Path) -> None:
    archived.write_config()
    for name in ("/dev/stdout", "/proc/self/fd/1", "/dev/null"):
        done = archived.cli("export", name)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == (name != "/dev/null")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert archived.cli("export", str(pipe)).returncode == 0
        assert reader.communicate()[0].count(b"\n") == 1


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("key", ["journal", "archive"])
def test_root_makes_nothing_behind_their_link(
    habitat: HabitatFactory, theirs: Path, tmp_path: Path, key: str, kind: str
) -> None:
    """Where there is no journal or archive yet, one would be made at the link's end."""
    gateway = habitat(start=False)
    private = tmp_path / "private"
    private.mkdir()
    link = theirs / "link"
    their_link(link, private / "made" if kind == "file" else private)
    path = link if kind == "file" else link / "made"
    if key == "journal":
        gateway.config["journal"]["path"] = str(path)
    else:
        gateway.config["archive"]["uri"] = f"sqlite:{path}"
    gateway.write_config()
    if key == "archive":  # the gateway would go on without it
        done = gateway.cli("import", "-", stdin='{"_id": "a", "time_created": 1}\n')
        assert "link of another user" in done.stderr
    else:
        gateway.start(ready=False)
        assert gateway.wait() == 1
        assert "link of another user" in gateway.log
    assert list(private.iterdir()) == []


def test_root_makes_no_socket_behind_their_link(theirs: Path, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    their_link(theirs / "link", private)
    with pytest.raises(ListenError, match="link of another user"):
        listen_at(theirs / "link" / "s", 0o660)
    assert list(private.iterdir()) == []


def test_root_logs_to_nothing_behind_their_link(
    habitat: HabitatFactory, theirs: Path, precious: Path
) -> None:
    gateway = habitat(start=False)
    their_link(theirs / "habitat.log", precious)
    gateway.config["log"]["file"] = str(theirs / "habitat.log")
    gateway.start(ready=False)
    assert gateway.wait() == 2
    assert "log.file" in gateway.log
    assert "link of another user" in gateway.log
    assert precious.read_text() == SECRET


def test_the_lock_is_not_written_through_a_second_name(
    habitat: HabitatFactory, precious: Path
) -> None:
    gateway = habitat(start=False)
    lock = gateway.journal_path.with_name("journal.sqlite.lock")
    os.link(precious, lock)
    gateway.start(ready=False)
    assert gateway.wait() == 1
    assert "journal.sqlite.lock: it has another name" in gateway.log
    assert precious.read_text() == SECRET


def test_maintenance_replaces_a_link_and_writes_through_none(theirs: Path, precious: Path) -> None:
    file = MaintenanceFile(theirs / "journal.sqlite")
    their_link(file.path, precious)
    their_link(theirs / f".maintenance.{os.getpid()}", precious)
    file.write(b"back at noon")
    assert precious.read_text() == SECRET
    assert not file.path.is_symlink()
    assert file.path.read_text() == "back at noon"


def test_a_socket_gives_its_rights_to_nothing_else(
    theirs: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = theirs / "s"
    bind = socket.socket.bind

    class Swapped(socket.socket):
        def bind(self, address: Any) -> None:
            bind(self, address)
            path.unlink()
            path.hardlink_to(precious)

    monkeypatch.setattr(socket, "socket", Swapped)
    with pytest.raises(ListenError, match="another file has come in its place"):
        listen_at(path, 0o666)
    assert stat.S_IMODE(precious.stat().st_mode) == 0o600
