"""Who may use the console, and how it keeps others out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import HabitatFactory
from tests.support.console import PASSWORD, USER, Visitor, basic, make_users, with_console
from tests.support.gateway import Habitat
from tests.support.messages import GOOD
from tests.support.reply import one_line
from tests.support.wait import eventually


@pytest.fixture(scope="module")
def gateway() -> Iterator[Habitat]:
    """A gateway with a console, and one user."""
    made = with_console()
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def visitor(gateway: Habitat) -> Visitor:
    """Somebody who is not signed in."""
    return Visitor(gateway)


# -- off


def test_without_users_there_is_no_console(habitat: HabitatFactory) -> None:
    reply = habitat().scgi("GET", "/console/")
    assert reply.status == 404
    assert "console.password_file" in one_line(reply)


def _missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def _directory(path: Path) -> None:
    path.mkdir()


def _below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


#: Ways in which a password file can't be used, and what is said of it.
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (_missing, "No such file"),
    "a directory": (_directory, "Is a directory"),
    "a pipe": (_pipe, "not a regular file"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "too large": (lambda path: path.write_bytes(b"#" * 2_000_000), "more than 1048576 bytes"),
    "empty": (lambda path: path.write_text(""), "it has no users"),
    "no hash": (lambda path: path.write_text("alice:secret\n"), "line 1: no hash after the name"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe"), "not UTF-8 text"),
    "below a file": (_below_a_file, "Not a directory"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_password_file_that_can_not_be_used_stops_no_upload(
    habitat: HabitatFactory, tmp_path: Path, how: str
) -> None:
    spoil, why = BROKEN[how]
    path = tmp_path / "below" / "users"
    path.parent.mkdir()
    spoil(path)
    gateway = habitat({"console": {"password_file": str(path)}})
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    says = "the console answers 503"
    eventually(lambda: says in gateway.log)
    (told,) = [line for line in gateway.log.splitlines() if says in line]
    assert f"console.password_file: {path}" in told
    assert why in told
    reply = gateway.scgi("GET", "/console/overview")
    assert reply.status == 503
    assert why in one_line(reply)
    assert "Traceback" not in gateway.log
    checked = gateway.cli("check")
    assert checked.returncode == 1
    assert f"error        console.password_file: {path}" in checked.stdout


def test_a_password_file_that_is_repaired_needs_no_restart(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    path = tmp_path / "users"
    gateway = habitat({"console": {"password_file": str(path)}})
    assert gateway.scgi("GET", "/console/login").status == 503
    assert gateway.cli("console", "passwd", "alice", stdin="one and more\n").returncode == 0
    assert gateway.scgi("GET", "/console/login").status == 200


def test_a_console_that_does_not_start_stops_no_upload(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    gateway = habitat(start=False)
    gateway.config["console"] = {"password_file": make_users(tmp_path / "users")}
    # Something in the console's own code is broken: a module that it needs can't be imported.
    (gateway.directory / "pygal.py").write_text("raise RuntimeError('broken by an upgrade')\n")
    gateway.environ["PYTHONPATH"] = str(gateway.directory)
    gateway.start()
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    eventually(lambda: "there is no console" in gateway.log)
    eventually(lambda: "broken by an upgrade" in gateway.log)
    assert gateway.scgi("GET", "/console/").status == 404


def test_check_looks_at_the_password_file(gateway: Habitat) -> None:
    path = gateway.directory / "users"
    assert f"ok           console.password_file: 1 users in {path}" in gateway.cli("check").stdout
    path.chmod(0o644)
    assert f"console.password_file: everybody can read {path}" in gateway.cli("check").stdout
    path.chmod(0o600)


# -- the users


def test_passwd_makes_a_file_for_its_owner_alone(habitat: HabitatFactory, tmp_path: Path) -> None:
    path = tmp_path / "users"
    gateway = habitat({"console": {"password_file": str(path)}}, start=False)
    done = gateway.cli("console", "passwd", "alice", stdin="one and more\n")
    assert (done.returncode, done.stdout) == (0, f"alice added to {path}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "one and more" not in path.read_text()
    path.write_text(f"# ours\n{path.read_text()}")
    path.chmod(0o640)
    assert gateway.cli("console", "passwd", "alice", stdin="two and more\n").stdout.startswith(
        "alice chan"
    )
    assert path.read_text().startswith("# ours\nalice:scrypt$")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "why"),
    [
        (["a:b"], "x\n", 2, "'a:b' is not a user name"),
        (["alice"], "\n", 2, "The password is empty"),
        (["--remove", "bob"], "", 1, "there is no user 'bob' in"),
    ],
)
def test_passwd_says_what_is_wrong(
    gateway: Habitat, arguments: list[str], stdin: str, code: int, why: str
) -> None:
    done = gateway.cli("console", "passwd", *arguments, stdin=stdin)
    assert done.returncode == code
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


def test_passwd_needs_to_know_the_file(habitat: HabitatFactory) -> None:
    gateway = habitat(start=False)
    done = gateway.cli("console", "passwd", "alice", stdin="x\n")
    assert done.returncode == 2
    assert "console.password_file is not set" in done.stderr
    # Where the gateway's user may write.
    assert f"such as to {gateway.directory / 'console-users'}, " in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("before", [None, "root's own", "the group's", "the gateway's"])
def test_what_root_writes_can_be_read_by_the_gateway(
    habitat: HabitatFactory, tmp_path: Path, before: str | None
) -> None:
    users = tmp_path / "users"
    gateway = habitat({"console": {"password_file": str(users)}}, start=False)
    journal = tmp_path / "state" / "journal.sqlite"
    journal.parent.mkdir()
    os.chown(journal.parent, 12345, 12346)
    gateway.config["journal"]["path"] = str(journal)
    if before is not None:
        users.write_text("# ours\n")
        users.chmod(0o640 if before == "the group's" else 0o600)
        owner = {"the group's": (0, 12346), "the gateway's": (12345, 0)}.get(before, (0, 0))
        os.chown(users, *owner)
    assert gateway.cli("console", "passwd", "alice", stdin="one and more\n").returncode == 0
    state = users.stat()
    if before == "the group's":
        assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (0, 12346, 0o640)
    else:
        assert (state.st_uid, state.st_mode & 0o777) == (12345, 0o600)


# -- signing in and out


def test_a_browser_is_sent_to_sign_in_and_then_where_it_wanted_to_go(visitor: Visitor) -> None:
    sent = visitor.get("/console/overview?a=b")
    assert (sent.status, sent.headers["location"]) == (303, "/console/login?next=/overview?a%3Db")
    reply = visitor.sign_in(next="/overview?a=b")
    assert (reply.status, reply.headers["location"]) == (303, "/console/overview?a=b")
    assert USER in visitor.page("/console/overview")


def test_the_console_begins_with_the_overview(visitor: Visitor) -> None:
    visitor.sign_in()
    for path in ("/console", "/console/"):
        assert visitor.get(path).headers["location"] == "/console/overview"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "x:y", "evil"]
)
def test_signing_in_leads_to_no_other_host(visitor: Visitor, target: str) -> None:
    assert visitor.sign_in(next=target).headers["location"] == "/console/overview"


def test_after_signing_out_nothing_is_shown(visitor: Visitor) -> None:
    visitor.sign_in()
    assert visitor.post("/console/logout").status == 303
    assert visitor.get("/console/overview").status == 303


@pytest.mark.parametrize(("name", "password"), [(USER, "wrong"), ("bob", PASSWORD), ("", "")])
def test_a_wrong_name_or_password_is_refused_alike(
    visitor: Visitor, name: str, password: str
) -> None:
    reply = visitor.sign_in(name, password)
    assert reply.status == 403
    assert "Wrong name or password" in reply.text
    assert visitor.get("/console/overview").status == 303


def test_who_guesses_is_not_looked_at_any_more(gateway: Habitat) -> None:
    addresses = (f"203.0.113.{number}" for number in range(66, 250))

    def is_refused() -> bool:
        # An address of its own each time: one that has signed in may go on guessing.
        guesser = Visitor(gateway, ip=next(addresses))
        # Ten may take so long on a busy machine that more are allowed.
        for _ in range(12):
            assert guesser.sign_in(password="wrong").status == 403
        return guesser.sign_in().status == 403

    eventually(is_refused, "the right password is refused, too")
    assert Visitor(gateway).sign_in().status == 303, "others are"
    eventually(lambda: "too many wrong passwords" in gateway.log)


# -- sessions


def test_the_cookie_is_for_the_console_alone(gateway: Habitat) -> None:
    plain, secure = Visitor(gateway), Visitor(gateway, https=True)
    plain.sign_in()
    secure.sign_in()
    assert {"httponly", "samesite=lax", "path=/console"} <= plain.attributes
    assert "secure" in secure.attributes


def test_a_cookie_that_was_changed_is_none(visitor: Visitor) -> None:
    visitor.sign_in()
    assert visitor.cookie is not None
    name, _, value = visitor.cookie.partition("=")
    visitor.cookie = f"{name}={value[:-3]}abc"
    assert visitor.get("/console/overview").status == 303


def test_a_session_ends_in_time(habitat: HabitatFactory, tmp_path: Path) -> None:
    users = make_users(tmp_path / "users")
    visitor = Visitor(habitat({"console": {"password_file": users, "session_lifetime": 2}}))
    # The form's own session may end before a busy machine has the answer.
    eventually(lambda: visitor.sign_in().status == 303, "signed in")
    eventually(lambda: visitor.get("/console/overview").status == 303, "the session ends")


def test_a_session_outlives_a_restart_and_ends_with_a_new_password(
    habitat: HabitatFactory, tmp_path: Path
) -> None:
    users = make_users(tmp_path / "users")
    gateway = habitat({"console": {"password_file": users}})
    visitor = Visitor(gateway)
    visitor.sign_in()
    gateway.restart()
    assert visitor.get("/console/overview").status == 200
    done = gateway.cli("console", "passwd", USER, stdin="another one\n")
    assert done.returncode == 0, done.stderr
    assert visitor.get("/console/overview").status == 303
    assert visitor.sign_in(password="another one").status == 303


def test_a_user_who_was_removed_is_out(habitat: HabitatFactory, tmp_path: Path) -> None:
    users = make_users(tmp_path / "users", alice=PASSWORD, bob=PASSWORD)
    gateway = habitat({"console": {"password_file": users}})
    visitor = Visitor(gateway)
    visitor.sign_in("bob")
    assert gateway.cli("console", "passwd", "--remove", "bob").returncode == 0
    assert visitor.get("/console/overview").status == 303
    assert visitor.sign_in("bob").status == 403


# -- forms


@pytest.mark.parametrize("token", ["", "wrong", "IjEyMyI.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb"])
def test_a_form_without_its_token_changes_nothing(visitor: Visitor, token: str) -> None:
    visitor.sign_in()
    assert visitor.post("/console/logout", token=token).status == 400
    assert visitor.get("/console/overview").status == 200


def test_the_token_of_another_session_is_none(gateway: Habitat) -> None:
    alice, mallory = Visitor(gateway), Visitor(gateway)
    alice.sign_in()
    mallory.sign_in()
    assert alice.post("/console/logout", token=mallory.token()).status == 400


def test_a_form_from_another_site_is_refused_under_https(gateway: Habitat) -> None:
    visitor = Visitor(gateway, https=True)
    visitor.sign_in()
    token = visitor.token()
    assert visitor.cookie is not None
    reply = gateway.scgi(
        "POST",
        "/console/logout",
        f"csrf_token={token}",
        {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": visitor.cookie,
            "Host": "gateway.example",
            "Referer": "https://evil.example/",
        },
        params={"HTTPS": "on"},
    )
    assert reply.status == 400


# -- scripts


def test_a_script_sends_its_password_and_looks(visitor: Visitor) -> None:
    reply = visitor.get("/console/overview.json", basic(USER, PASSWORD))
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()


def test_a_script_without_a_password_is_told_so(visitor: Visitor) -> None:
    reply = visitor.get("/console/overview.json")
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Basic")
    assert one_line(reply) == "sign in first"
    assert visitor.get("/console/overview.json", basic(USER, "wrong")).status == 401
    assert visitor.get("/console/overview.json", {"Authorization": "Basic !"}).status == 401


# -- the web server's users


def test_the_web_server_may_say_who_is_there(habitat: HabitatFactory) -> None:
    gateway = habitat({"console": {"trust_proxy_auth": True}})
    seen = gateway.scgi("GET", "/console/overview", params={"REMOTE_USER": "carol"})
    assert seen.status == 200
    assert "carol" in seen.text
    assert "Sign out" not in seen.text
    forged = {"Remote-User": "carol", "Accept": "text/html"}
    assert gateway.scgi("GET", "/console/overview", headers=forged).status == 303
    assert Visitor(gateway).sign_in().status == 403, "there are no passwords"


def test_nobody_is_believed_without_that(gateway: Habitat) -> None:
    reply = gateway.scgi("GET", "/console/overview.json", params={"REMOTE_USER": USER})
    assert reply.status == 401


# -- every answer


@pytest.mark.parametrize("path", ["login", "overview", "nothing", "static/console.css"])
def test_every_answer_has_the_headers_that_keep_it_apart(visitor: Visitor, path: str) -> None:
    headers = visitor.get(f"/console/{path}").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"


def test_pages_are_not_kept_by_browsers_and_proxies(visitor: Visitor) -> None:
    visitor.sign_in()
    assert visitor.get("/console/overview").headers["cache-control"] == "no-store"
    assert "max-age" in visitor.get("/console/static/console.css").headers["cache-control"]


def test_an_error_is_a_page_or_json(visitor: Visitor) -> None:
    visitor.sign_in()
    page = visitor.get("/console/nothing")
    assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    data = visitor.get("/console/nothing.json")
    assert (data.status, data.json()) == (404, {"error": "There is no such page."})


@pytest.mark.parametrize("page", ["overview", "stations"])
@pytest.mark.parametrize("name", ["endpoint", "_scheme", "_external", "self"])
def test_no_name_in_an_address_has_a_power_over_the_page(
    visitor: Visitor, page: str, name: str
) -> None:
    visitor.sign_in()
    shown = visitor.page(f"/console/{page}?{name}=evil")
    assert f'"/console/{page}.json?{name}=evil"' in shown
    assert "gateway.example" not in shown


@pytest.mark.parametrize("path", ["overview", "overview.json", "login", "static/console.css"])
def test_without_its_password_file_the_console_says_so(gateway: Habitat, path: str) -> None:
    users = gateway.directory / "users"
    visitor = Visitor(gateway)
    visitor.sign_in()
    users.rename(users.with_name("gone"))
    try:
        told = visitor.get(f"/console/{path}")
        assert told.status == 503
        assert "console.password_file" in told.text
    finally:
        users.with_name("gone").rename(users)
    assert visitor.get("/console/overview").status == 200
    assert "Traceback" not in gateway.log


def test_the_console_counts_as_an_action(gateway: Habitat, visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.get("/console/overview")
    # A page is counted once it has been sent.
    eventually(lambda: gateway.status()["requests"]["console"].get("200", 0) > 0, "it is counted")
