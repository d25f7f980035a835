"""Who may read and write the gateway's files, and how `habitat check` tells of the rest."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HabitatFactory
from tests.support.cli import Run
from tests.support.gateway import Habitat
from tests.support.messages import GOOD
from tests.support.wait import eventually


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture
def lax_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("lax_umask")
def test_nobody_else_reads_what_stations_sent_whatever_the_umask(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    var, logs = gateway.directory / "var", gateway.directory / "logs"
    gateway.config["journal"]["path"] = str(var / "journal.sqlite")
    gateway.config["archive"]["uri"] = f"sqlite:{gateway.directory}/kept/archive.sqlite"
    gateway.config["log"]["file"] = str(logs / "habitat.log")
    gateway.start()
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    gateway.wait_until_archived()
    kept = gateway.directory / "kept"
    for directory in (var, kept, logs):
        assert mode(directory) == "0o750"
        files = list(directory.iterdir())
        assert files
        for file in files:
            assert mode(file) == "0o640", file
    assert {file.name for file in var.iterdir()} == {
        f"journal.sqlite{end}" for end in ("", "-wal", "-shm", ".lock")
    }
    assert {file.name for file in kept.iterdir()} >= {"archive.sqlite", "archive.sqlite-wal"}
    assert mode(gateway.socket_path) == "0o660"


@pytest.mark.usefixtures("lax_umask")
def test_a_log_that_was_rotated_is_made_anew_for_the_group_alone(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    path = gateway.directory / "habitat.log"
    gateway.config["log"]["file"] = str(path)
    gateway.start()
    path.rename(f"{path}.1")
    gateway.process.send_signal(1)  # type: ignore[union-attr]  # SIGHUP: a line for the log
    eventually(path.exists, "the log is made anew")
    assert mode(path) == "0o640"


@pytest.mark.usefixtures("lax_umask")
def test_an_export_is_for_its_owner_alone(habitat: HabitatFactory) -> None:
    gateway = habitat()
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    out = gateway.directory / "out.ndjson"
    done = gateway.cli("journal", "export", str(out))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(out.stat().st_mode) & 0o007 == 0


def test_a_link_in_the_place_of_the_socket_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    other = gateway.directory / "precious"
    other.write_text("keep me")
    other.chmod(0o600)
    gateway.socket_path.symlink_to(other)
    gateway.start(ready=False)
    assert gateway.wait() == 1
    assert "this is not a socket" in gateway.log
    assert (other.read_text(), mode(other)) == ("keep me", "0o600")


def test_a_link_in_the_place_of_the_lock_is_refused(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    other = gateway.directory / "precious"
    other.write_text("keep me")
    gateway.journal_path.with_name("journal.sqlite.lock").symlink_to(other)
    gateway.start(ready=False)
    assert gateway.wait() == 1
    assert "journal.sqlite.lock" in gateway.log
    assert other.read_text() == "keep me"


# habitat check


def findings(done: subprocess.CompletedProcess[str], mark: str) -> list[str]:
    """The lines with this mark."""
    lines = done.stdout.partition("\n\n")[2].splitlines()
    return [line[13:] for line in lines if line.startswith(f"{mark} ")]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("hunter2-hunter2\n")
    path.chmod(0o640)
    return path


def test_check_warns_of_a_password_that_everybody_can_read(run: Run, secret: Path) -> None:
    more = {"HABITAT_ARCHIVE_PASSWORD_FILE": str(secret)}
    assert not findings(run("check", **more), "warning")
    secret.chmod(0o644)
    done = run("check", **more)
    (warning,) = findings(done, "warning")
    assert warning == f"archive.password_file: everybody can read {secret}; chmod o= {secret}"
    assert "hunter2" not in done.stdout + done.stderr


def test_check_warns_of_files_of_messages_that_everybody_can_read(run: Run, tmp_path: Path) -> None:
    for name in ("journal", "archive"):
        (tmp_path / "var").mkdir(exist_ok=True)
        path = tmp_path / f"var/{name}.sqlite"
        path.touch()
        path.chmod(0o644)
    warnings = findings(run("check"), "warning")
    assert len(warnings) == 2
    for name, warning in zip(("journal.path", "archive.uri"), warnings, strict=True):
        assert warning.startswith(f"{name}: it has stations' addresses, and everybody can read")
        assert "; chmod o= " in warning


def test_check_warns_of_a_configuration_that_everybody_can_change(
    run: Run, tmp_path: Path, config_file: str
) -> None:
    Path(config_file).chmod(0o666)
    (warning,) = findings(run("check"), "warning")
    assert "it names code that is run" in warning
    assert f"chmod o-w {config_file}" in warning
    Path(config_file).chmod(0o644)
    tmp_path.chmod(0o1777)  # as /tmp
    (warning,) = findings(run("check"), "warning")
    assert f"everybody can create files in directory {tmp_path}" in warning


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give files away")


@as_root
@pytest.mark.parametrize("which", ["file", "directory", "above"])
@pytest.mark.parametrize("how", ["owner", "group"])
def test_check_warns_of_a_configuration_that_is_not_roots(
    run: Run, tmp_path: Path, config_file: str, which: str, how: str
) -> None:
    """The gateway's user for one: root's commands import the modules beside the file."""
    above = tmp_path / "etc"
    directory = above / "habitat"
    directory.mkdir(parents=True)
    path = directory / "config.yml"
    path.write_text(Path(config_file).read_text())
    assert not findings(run("check", "--config", str(path)), "warning")
    changed = {"file": path, "directory": directory, "above": above}[which]
    if how == "owner":
        os.chown(changed, 65534, 0)
        expected = f"user nobody owns {changed}; chown root {changed}"
    else:
        os.chown(changed, 0, 65534)
        changed.chmod(0o775)
        expected = f"group nogroup can write to {changed}; chmod g-w {changed}"
    (warning,) = findings(run("check", "--config", str(path)), "warning")
    assert warning == f"configuration: it names code that is run, and {expected}"


@as_root
def test_check_warns_the_service_itself_and_looks_behind_links(
    run: Run, tmp_path: Path, config_file: str
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    behind = theirs / "config.yml"
    behind.write_text(Path(config_file).read_text())
    os.chown(theirs, 65534, 65534)
    link = tmp_path / "link.yml"
    link.symlink_to(behind)
    (warning,) = findings(run("check", "--config", str(link)), "warning")
    assert f"user nobody owns {theirs}" in warning


def test_check_warns_of_a_directory_in_which_everybody_can_make_files(
    run: Run, tmp_path: Path
) -> None:
    for name in ("run", "var"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    warnings = findings(run("check"), "warning")
    subjects = [warning.partition(":")[0] for warning in warnings]
    assert subjects == ["gateway.socket", "journal.path", "archive.uri"]
    assert all("choose another one" in warning for warning in warnings)


# without root


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run without root anyway")
def test_the_gateway_needs_no_right_of_root(habitat: HabitatFactory) -> None:
    """Serve, archive and stop with every capability dropped, as in the systemd unit."""
    gateway: Habitat = habitat(start=False)
    gateway.write_config()
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    # The interpreter may lie where another user can't get at it; then root without rights serves.
    reachable = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", ""],
        capture_output=True,
        check=False,
    )
    if reachable.returncode == 0:
        drop += ["--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(gateway.directory, 65534, 65534)
    with gateway.log_path.open("ab") as log:
        gateway.process = subprocess.Popen(
            [*drop, sys.executable, "-m", "habitat_like.cli", "serve"],
            cwd=gateway.directory,
            env=gateway.environ,
            stdout=log,
            stderr=log,
        )
    gateway.wait_ready()
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 0, kind
    if reachable.returncode == 0:
        assert set(fields["Uid"].split()) == {"65534"}
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    assert len(gateway.documents()) == 1
    assert gateway.stop() == 0
