"""``habitat station``, and what the other commands tell of stations."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from habitat_like.networks.hisparc import stations
from habitat_like.passwords import Verifier
from tests.conftest import HabitatFactory
from tests.networks.hisparc.support import Network, event, fields
from tests.support.cli import environment, fails, run
from tests.support.wait import PATIENCE, away_from_midnight


@pytest.fixture
def network(habitat: HabitatFactory) -> Network:
    away_from_midnight()
    return Network(habitat(start=False))


def test_ls_shows_every_station_and_what_it_did(network: Network) -> None:
    gateway = network.gateway.start()
    assert network.code(fields([event(1), event(2, moment=event()["header"]["datetime"])])) == "100"
    assert network.code(fields([event(1)], 502, "wrong")) == "203"
    assert network.code(fields([event(1)], 1, "wrong")) == "206"
    done = gateway.cli("station", "ls", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert isinstance(first.pop("last_upload"), float)
    assert first == {
        "number": 501,
        "cluster": "amsterdam",
        "events_today": 2,
        "suspicious_today": 0,
        "failed_passwords_today": 0,
    }
    assert second == {
        "number": 502,
        "cluster": "leiden",
        "last_upload": None,
        "events_today": 0,
        "suspicious_today": 0,
        "failed_passwords_today": 1,
    }
    header, one, two, note = gateway.cli("station", "ls").stdout.splitlines()
    assert header.split("  ")[0] == "NUMBER"
    assert one.split()[::3] == ["501", "2"]
    assert two.split() == ["502", "leiden", "-", "0", "0", "1"]
    assert note.startswith("today (UTC), and since the gateway's start 20")


def test_ls_says_what_it_lacks(network: Network, habitat: HabitatFactory) -> None:
    done = network.gateway.cli("station", "ls")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no gateway runs at" in done.stderr
    other = habitat()
    done = other.cli("station", "ls")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the key stations is not set" in done.stderr


def test_hash_makes_a_hash_of_standard_input(network: Network) -> None:
    done = network.gateway.cli("station", "hash", stdin="sécret word\n")
    assert done.returncode == 0, done.stderr
    hashed = done.stdout.strip()
    assert "secret" not in hashed
    assert Verifier().is_right(hashed, "sécret word".encode())
    network.list.write_text(f"501,amsterdam,{hashed}\n")
    network.gateway.start()
    assert network.code(fields([event()], password="sécret word")) == "100"
    assert network.code(fields([event()], password="other")) == "203"
    assert network.code(fields([event()], password=hashed)) == "203"


def test_hash_asks_on_a_terminal_without_showing(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "habitat_like.cli", "station", "hash"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="dumb"),
        start_new_session=True,
    )
    os.close(follower)
    got = b""
    for prompt in (b"Password: ", b"Repeat for confirmation: "):
        while prompt not in got:
            got += os.read(leader, 1000)
        os.write(leader, b"hunter2\n")
    while b"scrypt$" not in got:
        got += os.read(leader, 1000)
    assert process.wait(PATIENCE) == 0
    assert b"hunter2" not in got
    os.close(leader)


def test_hash_of_a_list_hashes_what_stands_there_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('501,"a,b",secret\n502,leiden,geheim\n')
    done = run("station", "hash", str(path))
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout
    new = tmp_path / "new.csv"
    new.write_text(done.stdout)
    found = stations.load(str(new))
    assert found[501].cluster == "a,b"
    assert Verifier().is_right(found[502].password, b"geheim")
    assert run("station", "hash", str(new)).stdout == done.stdout


def test_an_empty_password_is_refused() -> None:
    fails(run("station", "hash"), 2, "password is empty")


def test_check_names_every_broken_line_and_no_password(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("501,amsterdam,secret\n502,leiden\nx,leiden,secret\n501,leiden,secret\n")
    done = run("station", "check", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{path} line 2: expected number,cluster,password",
        f"{path} line 3: the number 'x' is no integer from 0 to 999999999",
        f"{path} line 4: station 501 stands in line 1 already",
    ]
    fails(run("station", "check", str(tmp_path / "none")), 2, "No such file")


def test_check_counts_and_warns_of_readable_passwords(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("501,amsterdam,secret\n502,leiden,geheim\n")
    path.chmod(0o644)
    done = run("station", "check", str(path))
    assert done.returncode == 0
    assert done.stdout == "2 stations in 2 clusters, 2 with the password in clear\n"
    assert "everybody can read" in done.stderr
    path.chmod(0o640)
    assert run("station", "check", str(path)).stderr == ""


def test_habitat_check_looks_at_the_list(network: Network) -> None:
    network.list.chmod(0o640)
    done = network.gateway.cli("check")
    assert f"hisparc.station_list: 2 stations in {network.list}" in done.stdout
    assert "gateway.actions: message, messages\n" in done.stdout
    assert "networks.hisparc: accepts uploads to /upload" in done.stdout
    assert "secret" not in done.stdout
    network.list.write_text("501\n")
    done = network.gateway.cli("check")
    assert done.returncode == 2
    assert "line 1: expected number,cluster,password" in done.stdout
