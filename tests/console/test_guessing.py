"""What a guess of a password costs, what its time tells, and whom guesses keep out: nobody."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from habitat_like import passwords
from habitat_like.config.keys import Config, ConsoleConfig
from habitat_like.console import users
from habitat_like.console.app import create_app
from habitat_like.main import Program
from habitat_like.passwords import TRIES
from tests.conftest import HabitatFactory
from tests.support.console import PASSWORD, USER, Visitor, basic, make_users

HERE, ELSEWHERE = "203.0.113.9", "198.51.100.7"
CHEAP = 2**10


@pytest.fixture
def scrypts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """The cost of each hash that was computed: all that takes time in a look at a password."""
    computed: list[tuple[int, int, int]] = []
    compute = hashlib.scrypt

    def count(password: bytes, **options: Any) -> bytes:
        computed.append((options["n"], options["r"], options["p"]))
        return compute(password, **options)

    monkeypatch.setattr(hashlib, "scrypt", count)
    return computed


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """Two users, of whom one will have signed in; their hashes cost little."""
    path = tmp_path / "users"
    lines = {USER: PASSWORD, "bob": "another"}.items()
    path.write_text("".join(f"{name}:{passwords.make_hash(word, CHEAP)}\n" for name, word in lines))
    return path


Try = Callable[..., int]


@pytest.fixture(params=["form", "basic"])
def attempt(
    request: pytest.FixtureRequest, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Try:
    """Send a name and a password from an address; gives the status.

    However long a test takes, it gets no more tries than those of the beginning.
    """
    monkeypatch.setattr(passwords, "REFILL", 86400.0)
    console = ConsoleConfig(password_file=str(password_file))
    app = create_app(Program(Config(console=console)))

    def by_form(name: str, password: str, address: str = HERE) -> int:
        client = from_address(app.test_client(), address)
        page = client.get("/login").text
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert token
        fields = {"name": name, "password": password, "csrf_token": token[1]}
        return client.post("/login", data=fields).status_code

    def by_header(name: str, password: str, address: str = HERE) -> int:
        client = from_address(app.test_client(), address)
        # A page that needs nothing but to know who asks.
        return client.get("/nothing.json", headers=basic(name, password)).status_code

    return by_form if request.param == "form" else by_header


def from_address(client: FlaskClient, address: str) -> FlaskClient:
    client.environ_base["REMOTE_ADDR"] = address
    return client


#: Let in: to a page, or to the answer that there is none.
IN = {303, 404}
OUT = {401, 403}


def test_a_no_takes_the_same_work_for_every_name(
    attempt: Try, scrypts: list[tuple[int, int, int]]
) -> None:
    assert attempt(USER, PASSWORD) in IN
    assert attempt(USER, PASSWORD) in IN
    work = {}
    for name in (USER, "bob", "nobody", "", "x" * 500, "\u00fc"):
        for password in ("wrong", "", "x" * 500):
            scrypts.clear()
            assert attempt(name, password, ELSEWHERE) in OUT
            work[name, password] = list(scrypts)
    assert set(map(tuple, work.values())) == {((CHEAP, 8, 1),)}


@pytest.mark.parametrize("name", [USER, "bob", "nobody"])
def test_a_no_takes_the_same_work_after_too_many(
    attempt: Try, scrypts: list[tuple[int, int, int]], name: str
) -> None:
    assert attempt(USER, PASSWORD) in IN
    for guess in range(2 * TRIES + 2):
        scrypts.clear()
        assert attempt(name, f"guess {guess}", ELSEWHERE) in OUT
        assert scrypts == [(CHEAP, 8, 1)]
    # A right one that is not looked at, and was seen before, is no other.
    scrypts.clear()
    right = {USER: PASSWORD, "bob": "another"}.get(name, "")
    assert attempt(name, right, ELSEWHERE) in OUT
    assert scrypts == [(CHEAP, 8, 1)]


def test_hashes_of_several_costs_tell_nobody_apart(
    attempt: Try, scrypts: list[tuple[int, int, int]], password_file: Path
) -> None:
    users.write(password_file, "carol", "dear")
    with password_file.open("a") as file:
        file.write(f"dave:{passwords.make_hash('middling')}\n")
    assert attempt("carol", "dear") in IN
    for name in (USER, "carol", "dave", "nobody"):
        scrypts.clear()
        assert attempt(name, "wrong") in OUT
        assert sorted(scrypts) == [(cost, 8, 1) for cost in (CHEAP, passwords.COST, users.COST)]
    for name, password in ((USER, PASSWORD), ("carol", "dear"), ("dave", "middling")):
        assert attempt(name, password) in IN
        assert attempt(name, "wrong") in OUT


def test_a_right_password_that_was_seen_costs_no_hash(
    attempt: Try, scrypts: list[tuple[int, int, int]]
) -> None:
    """A script may send it with each request."""
    assert attempt(USER, PASSWORD) in IN
    scrypts.clear()
    assert attempt(USER, PASSWORD) in IN
    assert scrypts == []


# -- guesses


def test_guesses_from_a_shared_address_do_not_keep_out_who_was_there_before(attempt: Try) -> None:
    assert attempt(USER, PASSWORD) in IN
    for guess in range(3 * TRIES):
        assert attempt(USER, f"guess {guess}") in OUT
        if guess % 5 == 0:
            assert attempt(USER, PASSWORD) in IN


def test_the_office_and_home_are_both_the_operators_own(attempt: Try) -> None:
    for address in (HERE, ELSEWHERE):
        assert attempt(USER, PASSWORD, address) in IN
    for guess in range(2 * TRIES):
        assert attempt(USER, f"guess {guess}", HERE) in OUT
    assert attempt(USER, PASSWORD, HERE) in IN


def test_success_clears_the_count(attempt: Try) -> None:
    for _ in range(3):
        for guess in range(TRIES - 1):
            assert attempt(USER, f"guess {guess}") in OUT
        assert attempt(USER, PASSWORD) in IN


def test_ten_guesses_at_once_are_looked_at_and_no_more(
    attempt: Try, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("habitat_like.console.sessions")
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.WARNING, logger.name)
    with ThreadPoolExecutor(3 * TRIES) as pool:
        statuses = list(pool.map(lambda n: attempt(USER, f"guess {n}"), range(3 * TRIES)))
    assert set(statuses) <= OUT
    logger.removeHandler(caplog.handler)
    looked_at = {id(one) for one in caplog.records if one.msg.startswith("wrong password")}
    assert len(looked_at) == TRIES


def test_an_open_session_makes_its_address_the_operators_own_after_a_restart(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    gateway = habitat({"console": {"password_file": make_users(tmp_path / "users")}})
    operator, guesser = Visitor(gateway, ip=HERE), Visitor(gateway, ip=HERE)
    assert operator.sign_in().status == 303
    gateway.restart()
    assert operator.get("/console/overview").status == 200
    for _ in range(TRIES + 1):
        assert guesser.sign_in(password="wrong").status == 403
    assert Visitor(gateway, ip=HERE).sign_in().status == 303
    assert gateway.log.count("too many wrong passwords") == 0
