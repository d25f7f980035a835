"""CouchDB with least rights: what the gateway does where it may write documents alone."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import HabitatFactory
from tests.support.couch import CouchServer
from tests.support.docs import blocks, text
from tests.support.gateway import Habitat
from tests.support.log import log_entries, wait_for_log
from tests.support.messages import GOOD, TELEM
from tests.support.proxy import Action, Answer, Proxy
from tests.support.reply import Reply

SECRET = "s3cr3t: {p@ss}/w%rd"
ADMIN = "the admin's own"


def write_secret(gateway: Habitat, password: str, name: str = "password") -> str:
    path = gateway.directory / name
    path.write_text(password + "\n")
    path.chmod(0o600)
    return str(path)


def archive_at(gateway: Habitat, uri: str, password: str) -> None:
    """Have it archive at ``uri`` with this password."""
    gateway.config["archive"] |= {"uri": uri, "password_file": write_secret(gateway, password)}


def check(gateway: Habitat) -> tuple[int, list[str]]:
    """The exit code of ``habitat check``, and what it says of the archive."""
    done = gateway.cli("check")
    return done.returncode, [line for line in done.stdout.splitlines() if " archive: " in line]


def run_by_admin(gateway: Habitat, said: str, user: str, password: str) -> int:
    """Run the command that ``said`` tells an admin to run; its exit code."""
    match = re.search(r"HABITAT_ARCHIVE_URI='([^']+)' HABITAT_ARCHIVE_PASSWORD_FILE=FILE", said)
    assert match, said
    assert said.endswith("habitat check")
    gateway.environ["HABITAT_ARCHIVE_URI"] = match[1].replace("ADMIN", user)
    gateway.environ["HABITAT_ARCHIVE_PASSWORD_FILE"] = write_secret(gateway, password, "admin")
    try:
        return gateway.cli("check").returncode
    finally:
        del gateway.environ["HABITAT_ARCHIVE_URI"]
        del gateway.environ["HABITAT_ARCHIVE_PASSWORD_FILE"]


def test_without_rights_to_design_documents_it_archives_and_says_once_what_is_missing(
    habitat: HabitatFactory, couch: CouchServer, proxy: Proxy, database: str
) -> None:
    def member(method: str, path: str, body: bytes) -> Action | None:
        """As CouchDB to a member of the database who is no admin."""
        makes_database = method == "PUT" and path.count("/") == 1
        design = method != "GET" and ("/_design/" in path or path.endswith("/_index"))
        if makes_database or design:
            status = 401 if design else 403
            return Answer(status, reason="You are not a db or server admin.")
        return None

    couch.create(database)
    proxy.rule = member
    proxy.credentials = ("habitat", SECRET)
    gateway = habitat(start=False)
    archive_at(gateway, proxy.uri(database, "habitat"), SECRET)
    gateway.start()
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    gateway.wait_until_archived()
    assert [one["callsign"] for one in couch.all_docs(database)] == ["M0ZDR"]
    (warning,) = wait_for_log(gateway, "write design documents")
    said = warning["message"]
    assert warning["level"] == "warning"
    assert "\n" not in said
    for missing in ("habitat-time", "habitat-type-time", "habitat-callsign-time"):
        assert missing in said
    assert "messages are archived" in said
    code, (first, second) = check(gateway)
    assert code == 0
    assert first == f"warning      archive: {said}"
    assert second.startswith("ok ")

    query = gateway.cli("query")
    assert (query.returncode, query.stdout) == (1, "")
    assert query.stderr.count("\n") == 1
    assert "have an admin run" in query.stderr

    proxy.rule = None  # the admin may
    proxy.credentials = ("admin", ADMIN)
    assert run_by_admin(gateway, said, "admin", ADMIN) == 0
    proxy.rule = member
    proxy.credentials = ("habitat", SECRET)
    code, (only,) = check(gateway)
    assert (code, only[:3]) == (0, "ok ")
    assert json.loads(gateway.cli("query", "--format", "ndjson").stdout)["callsign"] == "M0ZDR"


def test_a_database_that_it_may_not_make_is_told_and_made_by_an_admin(
    habitat: HabitatFactory, couch: CouchServer, proxy: Proxy, database: str
) -> None:
    proxy.rule = lambda method, path, body: Answer(403) if method == "PUT" else None
    gateway = habitat(start=False)
    archive_at(gateway, proxy.uri(database, "habitat"), SECRET)
    gateway.start()
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    wait_for_log(gateway, "sink can't go on")
    why = gateway.status()["archive"]["problem"]
    assert "have an admin run curl -X PUT" in why
    code, (line,) = check(gateway)
    assert code == 1
    assert why in line
    couch.create(database)
    gateway.wait_until_archived()
    assert len(couch.all_docs(database)) == 1


# the accounts of docs/by-hand.md, on a server that looks at who asks


class Accounts:
    """A CouchDB-protocol server with an admin, and with what docs/by-hand.md makes on it."""

    def __init__(self) -> None:
        self.couch = CouchServer().start()
        made = self.couch.request("PUT", "/_config/admins/admin", json.dumps(ADMIN).encode())
        assert made.status == 200, made

    def request(self, user: str, password: str, method: str, path: str, body: Any = None) -> Reply:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return self.couch.request(method, path, body, {"Authorization": f"Basic {token}"})

    def follow(self, commands: list[str]) -> None:
        """Do as admin what these ``curl -u admin`` commands would."""
        for command in commands:
            words = shlex.split(command.replace("\\\n", ""), comments=True)
            body = words[words.index("-d") + 1] if "-d" in words else None
            path = next(word for word in words if word.startswith("$DB")).removeprefix("$DB")
            method = words[words.index("-X") + 1]
            payload = json.loads(body) if body else None
            reply = self.request("admin", ADMIN, method, path, payload)
            assert reply.status in (200, 201, 412), (command, reply)


def curls(page: str, heading: str) -> list[str]:
    """The commands of a section's shell blocks that begin with ``curl -u admin``."""
    _, found, section = text(page).partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    shell = "".join(blocks(re.split(r"^#", section, maxsplit=1, flags=re.M)[0], "sh"))
    commands = re.findall(r"^curl -u admin (?:.*\\\n)*.*$", shell, re.M)
    assert commands, f"{page}: no curl under {heading!r}"
    return list(commands)


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    made = Accounts()
    try:
        made.request("admin", ADMIN, "PUT", "/habitat")
        made.follow(curls("docs/by-hand.md", "## 3. CouchDB"))
        yield made
    finally:
        made.couch.close()


#: The password that docs/by-hand.md writes for the plain user.
DOCUMENTED = "A LONG PASSWORD"


def test_the_documented_account_writes_documents_and_no_design_documents(
    accounts: Accounts,
) -> None:
    def tried(method: str, path: str, body: Any = None) -> int:
        return accounts.request("habitat", DOCUMENTED, method, path, body).status

    assert tried("GET", "/habitat") == 200
    assert tried("PUT", "/habitat/mine", {"a": 1}) == 201
    assert tried("GET", "/habitat/mine") == 200
    assert tried("PUT", "/habitat/_design/mine", {"views": {}}) in (401, 403)
    assert tried("PUT", "/habitat/_security", {}) in (401, 403)
    assert accounts.couch.request("GET", "/habitat").status == 401


def test_the_gateway_archives_with_the_documented_account(
    accounts: Accounts, habitat: HabitatFactory
) -> None:
    gateway = habitat(start=False)
    uri = accounts.couch.uri("habitat").replace("//", "//habitat@")
    archive_at(gateway, uri, DOCUMENTED)
    gateway.config["archive"]["views"] = ["hours"]  # this server lets anybody make an index
    gateway.start()
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    gateway.wait_until_archived()
    (warning,) = wait_for_log(gateway, "write design documents")
    assert run_by_admin(gateway, warning["message"], "admin", ADMIN) == 0
    code, (line,) = check(gateway)
    assert (code, line[:3]) == (0, "ok ")


def test_the_documented_guard_keeps_what_is_archived_as_it_is(
    accounts: Accounts, habitat: HabitatFactory
) -> None:
    accounts.follow(curls("docs/security.md", "### An archive that only grows"))
    gateway = habitat(start=False)
    uri = accounts.couch.uri("habitat").replace("//", "//habitat@")
    archive_at(gateway, uri, DOCUMENTED)
    gateway.start()
    message = json.dumps({**TELEM, "callsign": "GUARDED"})
    assert gateway.scgi("POST", "/message", message).status == 200
    gateway.wait_until_archived()
    gateway.restart()  # which forgets the ids of a moment ago
    assert gateway.scgi("POST", "/message", message).status == 200
    gateway.wait_until_archived()
    assert gateway.status()["dead_letters"] == 0

    found = accounts.request("habitat", DOCUMENTED, "GET", "/habitat/_all_docs?include_docs=true")
    (document,) = [
        row["doc"] for row in found.json()["rows"] if row["doc"].get("callsign") == "GUARDED"
    ]
    path = f"/habitat/{document['_id']}"
    for change in ({**document, "callsign": "FORGED"}, {**document, "_deleted": True}):
        assert accounts.request("habitat", DOCUMENTED, "PUT", path, change).status == 403
    gone = accounts.request("habitat", DOCUMENTED, "DELETE", f"{path}?rev={document['_rev']}")
    assert gone.status == 403
    assert accounts.request("habitat", DOCUMENTED, "GET", path).json() == document


# secrets


def spoken(gateway: Habitat) -> str:
    """All that a gateway and the commands beside it say, to whomever."""
    pages = [gateway.scgi("GET", f"/{page}").text for page in ("", "status", "metrics", "readyz")]
    commands = [gateway.cli(command) for command in ("check", "status", "query")]
    return "\n".join([*pages, *(one.stdout + one.stderr for one in commands), gateway.log])


@pytest.mark.parametrize("place", ["file", "address"])
def test_the_password_is_in_nothing_that_is_said(
    habitat: HabitatFactory, proxy: Proxy, database: str, place: str
) -> None:
    gateway = habitat(start=False)
    uri = proxy.uri(database, "habitat")
    if place == "file":
        archive_at(gateway, uri, SECRET)
    else:
        uri = uri.replace("habitat@", f"habitat:{quote(SECRET, safe='')}@")
        gateway.config["archive"]["uri"] = uri
    redirect = Answer(302, headers={"Location": "http://127.0.0.1:1/"})
    answers = iter([Answer(401), redirect, Answer(500, b"<html>broken</html>")])
    proxy.rule = lambda method, path, body: next(answers, None)
    gateway.start()
    assert gateway.scgi("POST", "/message", GOOD).status == 200
    gateway.wait_until_archived()
    assert gateway.status()["archive"]["retries"] >= 3
    text = spoken(gateway)
    proxy.rule = lambda method, path, body: Answer(401)
    text += spoken(gateway)
    assert log_entries(gateway)
    token = base64.b64encode(f"habitat:{SECRET}".encode()).decode()
    for secret in (SECRET, quote(SECRET, safe=""), token, "s3cr3t"):
        assert secret not in text
    assert any(seen.headers.get("authorization") == f"Basic {token}" for seen in proxy.requests)
