"""``archive.uri``: the archive that it leads to, and what is told of one that leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from habitat_like import archive
from habitat_like.archive import couch_uri, schemes
from habitat_like.archive.sqlite import SqliteArchive
from habitat_like.config.archive_uri import mask
from habitat_like.config.keys import ArchiveConfig, ConfigError


def mistake(uri: str, password_file: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        archive.check(ArchiveConfig(uri=uri, password_file=password_file))
    assert "\n" not in str(caught.value)
    assert caught.value.key == "archive.uri"
    return str(caught.value)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("sqlite://here", "without // before the path"),
        ("sqlite:", "there is no path"),
        ("couchdb://u@h/db?x=1", "no ? and no #"),
        ("http://h/db", "neither sqlite:PATH nor couchdb://"),
        ("nothing", "neither sqlite:PATH nor couchdb://"),
        ("couchdb://h:x/db", "archive.uri: "),
        ("couchdb://h/Db", "not a CouchDB database name"),
        ("couchdb:///db", "names no host"),
        ("couchdb://h:0/db", "the port must be a number from 1 to 65535"),
        ("couchdb://[::1/db", "names no host; put an IPv6 address in [ ]"),
        ("couchdb://::1:5984/db", "names no host; put an IPv6 address in [ ]"),
        ("couchdb://a..b/db", "names a host that can't be one"),
        (f"couchdb://{'h' * 64}.example.org/db", "names a host that can't be one"),
        ("sqlite::memory:", "messages must be on disk"),
        ("couchdb://:secret@h/db", "a password but no user"),
        ("no.such.Archive:x", "No module named 'no'"),
        ("pathlib.Path:x", "pathlib.Path is not an archive class: it has no from_config"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line(uri: str, says: str) -> None:
    assert says in mistake(uri)


def test_a_password_file_needs_a_user() -> None:
    assert "no user" in mistake("couchdb://h/db", password_file="/nowhere")


@pytest.mark.parametrize(
    "uri",
    [
        "couchdb://user:a[secret]b@host/db",
        "couchdb://user:secret\u2100@host/db",
        "couchdb:user:secret@host/db",
        "couchdb:/user:secret@host/db",
        "http://user:secret@host/db",
        "user:secret@host/db",
        "couchdb://user:secret@/db",
        "couchdb://user:secret@host/DB",
        "couchdb://user:secret@host:port/db",
        "couchdb://user:secret@host/db?x",
    ],
)
def test_an_address_that_can_not_be_used_keeps_its_password(uri: str) -> None:
    assert "secret" not in mistake(uri)
    assert "secret" not in mask(uri)
    assert "secret" not in archive.mask(uri)


@pytest.mark.parametrize("password", ["12/secret", "a/secret", "12?secret", "x#secret", "a/1:s@x"])
def test_half_a_password_is_never_shown(password: str) -> None:
    line = mistake(f"couchdb://user:{password}@host/db")
    assert not any(half in line for half in ("secret", "12", "s@x", "host"))
    assert "%2F" in line


def test_couchdbs_address_is_taken_apart(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("p@ss:word\n")
    config = ArchiveConfig(uri="couchdb://us%40er@db.example/messages", password_file=str(password))
    uri = couch_uri.with_password(couch_uri.parse(config), config)
    assert (uri.user, uri.password, uri.hosts[0], uri.database) == (
        "us@er",
        "p@ss:word",
        "db.example:5984",
        "messages",
    )
    tls = couch_uri.parse(ArchiveConfig(uri="couchdbs://[::1]/m"))
    assert tls.hosts == ("[::1]:6984",)


def test_a_password_file_that_is_missing_is_told() -> None:
    config = ArchiveConfig(uri="couchdb://u@h/db", password_file="/nowhere")
    archive.check(config)  # no I/O yet
    with pytest.raises(ConfigError, match=r"archive\.password_file"):
        archive.open_archive(config)


def test_a_password_file_that_is_another_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "long"
    file.write_text("x" * 2000)
    for path, says in ((file, "has more than a password"), (Path("/dev/zero"), "more than")):
        with pytest.raises(ConfigError, match=says):
            archive.open_archive(ArchiveConfig(uri="couchdb://u@h/db", password_file=str(path)))


def test_a_scheme_leads_to_a_class_of_one_s_own() -> None:
    uri = "habitat_like.archive.sqlite.SqliteArchive:var/a.sqlite"
    assert schemes.archive_class(uri) is SqliteArchive
    assert archive.open_archive(ArchiveConfig(uri=uri)).name == "sqlite:var/a.sqlite"
