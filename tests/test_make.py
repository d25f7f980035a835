"""What a newcomer meets: `make`, the set-up of a checkout, and `make run`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.checkout import Running, checkout
from tests.support.net import ROOT
from tests.support.wait import PATIENCE, eventually
from tools import setup
from tools.run import socket_directory


def make(*words: str, cwd: Path = ROOT) -> list[str]:
    """What a `make` that fails says, without make's own line."""
    done = subprocess.run(
        ["make", *words],
        cwd=cwd,
        # As nobody's child: these tests are run by make, too.
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    lines = (done.stdout + done.stderr).splitlines()
    assert lines[-1].startswith("make: *** ")
    return lines[:-1]


# -- what is missing is told in one line


def test_without_python() -> None:
    (line,) = make("venv", "PYTHON=no-such-python")
    assert line == "make: there is no no-such-python: Python 3.11 or newer is needed"


def test_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "an old python"
    code = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c \'{code}\' "$3"\n')
    old.chmod(0o755)
    (line,) = make("venv", f"PYTHON={old}")
    assert f"3.11 or newer is needed, and {old} is 3.9: make PYTHON=" in line


@pytest.mark.parametrize("name", ["a$b", 'a"b', "a\\b", "a:b", "a`b", "a\tb"])
def test_a_path_that_neither_pip_nor_nginx_can_quote(tmp_path: Path, name: str) -> None:
    (line,) = make("run", f"PYTHON={sys.executable}", cwd=checkout(tmp_path / name))
    assert line.startswith("make run: the path ")
    assert line.endswith(": move the checkout elsewhere")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A set-up by somebody who is not root, on a machine without nginx, Node.js and a compiler."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup, "VENV", tmp_path / ".venv")
    for name in ("nginx", "node"):
        monkeypatch.setitem(setup.PROGRAMS, name, ((f"no-such-{name}",), setup.PROGRAMS[name][1]))
    monkeypatch.setenv("CC", "no-such-compiler")
    return monkeypatch


def test_who_is_not_root_is_told_all_that_is_missing_at_once(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(setup.Problem) as caught:
        setup._packages(setup.TARGETS["test"], needs_python=True)
    text = str(caught.value)
    assert "\n" not in text
    missing, advice = text.removeprefix("missing: ").split("; ")
    assert {"nginx", "gcc", "libc6-dev", "nodejs", "npm"} <= set(missing.split())
    assert advice.endswith((missing, f"{missing})"))


def test_what_tests_can_do_without_is_told_and_they_go_on(
    bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.setitem(setup.PROGRAMS, "nginx", (("sh",), ("nginx",)))
    setup._packages(setup.TARGETS["test"], needs_python=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("without nodejs npm")
    assert ": the tests that need it are skipped; " in line


def test_the_packages_of_a_python() -> None:
    assert setup._debian_name(Path("/opt/python/bin/python3.12")) is None
    assert setup._debian_name(Path("/usr/bin/python3.99")) == "python3.99"
    usual = Path("/usr/bin/python3")
    if usual.exists():
        assert setup._debian_name(usual) == "python3"


# -- .venv


@pytest.fixture
def venv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A .venv as the set-up makes it, but for what is installed in it."""
    place = tmp_path / "here" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (place / ".made").touch()
    look_at(place, monkeypatch)
    return place


def look_at(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "VENV", place)
    monkeypatch.setattr(setup, "PYTHON", place / "bin" / "python")


def test_a_good_venv_stays(venv: Path) -> None:
    assert setup._why_make_venv() is None


def test_a_venv_that_was_not_finished_is_made_again(venv: Path) -> None:
    (venv / ".made").unlink()
    assert setup._why_make_venv() == ""


def test_a_moved_and_a_copied_venv_are_made_again(
    venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "there" / ".venv"
    shutil.copytree(venv, copy, symlinks=True)
    look_at(copy, monkeypatch)
    assert setup._why_make_venv() == "the checkout was moved or copied"


def test_a_venv_whose_python_is_gone_or_another_is_made_again(venv: Path) -> None:
    settings = venv / "pyvenv.cfg"
    text = settings.read_text()
    settings.write_text(re.sub(r"^version = .*$", "version = 3.1.4", text, flags=re.M))
    assert setup._why_make_venv() == "its Python is another now"
    settings.write_text(text)
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/nowhere/python3")
    assert setup._why_make_venv() == "its Python is gone"


def test_without_a_network_pip_gives_up_soon_and_the_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    monkeypatch.setattr(setup, "LOG", log)
    # What `_install` sets; nothing listens on port 1.
    words = [
        "--isolated",
        "--retries=2",
        "--index-url=http://127.0.0.1:1/",
        "--dest",
        str(tmp_path),
    ]
    with log.open("wb") as output:
        code = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", *words, "no-such-package"],
            stdout=output,
            stderr=output,
            timeout=PATIENCE,
            check=False,
        ).returncode
    assert code == 1
    why = setup._why_pip_failed()
    assert why.startswith("pip can't reach the package index; is there a network?")
    assert "\n" not in why


def test_another_failure_of_pip_is_its_last_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(setup, "LOG", tmp_path / "log")
    setup.LOG.write_text("  building\nerror: metadata-generation-failed\n\nhint: see above\n")
    assert setup._why_pip_failed().endswith(": error: metadata-generation-failed")


# -- Ctrl-C

CHILD = """
from pathlib import Path
from tools import child
child.block()
try:
    child.run(["sh", "-c", "echo $$; exec sleep 3600"], Path({log!r}))
except child.Stopped as stopped:
    child.die(stopped.signal)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_what_the_set_up_runs_without_a_traceback(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(log=str(log))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    (pid,) = eventually(lambda: re.findall(r"^(\d+)\n", log.read_text(), re.M))
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (-number, b"")
    with contextlib.suppress(FileNotFoundError):
        assert "sleep" not in Path(f"/proc/{pid}/cmdline").read_text()


# -- make run


def test_make_run_serves_keeps_what_is_edited_and_can_be_moved(
    tmp_path: Path, runs: list[Running]
) -> None:
    place = checkout(tmp_path / "it's a checkout")
    runs.append(Running(place))
    first = runs[-1]
    first.upload(1)
    eventually(lambda: first.archived() == [1])
    assert "off" in first.habitat("ctl", "slow-log", "off")

    runs.append(Running(place))
    host, port = first.address()
    assert f"running in this checkout already, on http://{host}:{port}/" in runs[-1].fails()
    first.stop()

    config = place / "var" / "config.yml"
    edited = config.read_text() + "log: {level: warning}  # mine\n"
    config.write_text(edited)
    runs.append(Running(place))
    runs[-1].upload(2)
    runs[-1].stop()
    assert config.read_text() == edited
    assert "habitat_like started" not in runs[-1].said

    moved = tmp_path / "now it is here"
    place.rename(moved)
    runs.append(Running(moved))
    runs[-1].upload(3)
    eventually(lambda: runs[-1].archived() == [1, 2, 3])
    runs[-1].stop()
    text = (moved / "var" / "config.yml").read_text()
    assert text == edited.replace(str(place), str(moved))
    assert not place.exists()


def test_make_run_in_a_path_that_is_too_long_for_sockets(
    tmp_path: Path, runs: list[Running]
) -> None:
    place = checkout(tmp_path / ("x" * 60) / ("y" * 60))
    runs.append(Running(place))
    runs[-1].upload(1)
    config = yaml.safe_load((place / "var" / "config.yml").read_text())
    directory = socket_directory(place)
    assert Path(config["gateway"]["socket"]).parent == directory
    assert (directory.stat().st_mode & 0o777, directory.stat().st_uid) == (0o700, os.geteuid())
    runs[-1].stop()
    assert not directory.exists()


def test_a_wrong_configuration_is_one_line_of_make_run(tmp_path: Path, runs: list[Running]) -> None:
    place = checkout(tmp_path / "checkout")
    (place / "var").mkdir()
    (place / "var" / "config.yml").write_text("gatway: {}\n")
    runs.append(Running(place))
    line = runs[-1].fails()
    assert "gatway" in line
    assert "did you mean" in line.lower()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_var_of_somebody_else_is_one_line_of_make_run(
    tmp_path: Path, runs: list[Running]
) -> None:
    place = checkout(tmp_path / "checkout")
    (place / "var").mkdir(mode=0o500)
    runs.append(Running(place))
    assert "can't be written" in runs[-1].fails()
