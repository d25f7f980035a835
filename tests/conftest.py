"""The fixtures that tests share: real servers, taken down after each test or each file."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings

from habitat_like import config as configuration
from habitat_like.archive import Archive, open_archive
from habitat_like.archive.couch import CouchArchive
from habitat_like.config.keys import ArchiveConfig, View
from tests.support import cli
from tests.support.archive import Place
from tests.support.checkout import Running
from tests.support.cli import Run
from tests.support.couch import CouchServer
from tests.support.gateway import Habitat
from tests.support.nginx import Nginx
from tests.support.proxy import Proxy
from tests.support.sandbox import Sandbox
from tests.support.site import Site
from tests.support.station import close
from tests.support.wait import PATIENCE

#: What to show of a failed test: a name and where to get the text.
LOGS = pytest.StashKey[list[tuple[str, Callable[[], str]]]]()
#: More of a log than this says nothing more.
LOG_TAIL = 20_000

#: Opens so many connections to a gateway.
Connect = Callable[[Habitat, int], list[socket.socket]]

#: Opens an archive behind the proxy: ``user``, ``password`` and ``timeout``.
CouchOpener = Callable[..., CouchArchive]

_numbers = count(1)

# How long an example takes says how busy the machine is, and nothing else.
settings.register_profile("habitat", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("habitat")


class HabitatFactory(Protocol):
    """Makes a gateway; the arguments are Habitat's."""

    def __call__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        start: bool = True,
        environ: Mapping[str, str] | None = None,
        own: str | None = None,
        activated: bool = False,
    ) -> Habitat: ...


class NginxFactory(Protocol):
    """Makes an nginx in front of a gateway; the arguments are Nginx's."""

    def __call__(
        self,
        habitat: Habitat,
        *,
        start: bool = True,
        in_server: str = "",
        in_http: str = "",
        block: str | None = None,
    ) -> Nginx: ...


def pytest_configure() -> None:
    """Have children obey Ctrl-C even where a shell that runs this beside itself ignores it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the servers' logs under a failed test."""
    report = yield
    if report.failed:
        for name, read in item.stash.get(LOGS, []):
            if text := read():
                report.sections.append((name, text[-LOG_TAIL:]))
    return report


def show_on_failure(request: pytest.FixtureRequest, name: str, read: Callable[[], str]) -> None:
    """Have ``read`` called for its text if the test fails."""
    request.node.stash.setdefault(LOGS, []).append((name, read))


@pytest.fixture(scope="session", autouse=True)
def patient_files() -> Iterator[None]:
    """A test waits for a journal that a gateway writes to, however busy the disk is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("habitat_like.journal.file.BUSY_TIMEOUT", PATIENCE)
        yield


@pytest.fixture
def habitat(request: pytest.FixtureRequest) -> Iterator[HabitatFactory]:
    """Makes gateways: ``habitat({"gateway": {"timeout": 1}})`` is one that serves."""
    made: list[Habitat] = []

    def make(
        config: Mapping[str, Any] | None = None,
        *,
        start: bool = True,
        environ: Mapping[str, str] | None = None,
        own: str | None = None,
        activated: bool = False,
    ) -> Habitat:
        gateway = Habitat(config, environ=environ, own=own, activated=activated)
        made.append(gateway)
        show_on_failure(request, f"habitat {len(made)}", lambda: gateway.log)
        return gateway.start() if start else gateway

    yield make
    for gateway in made:
        gateway.close()


@pytest.fixture
def nginx(request: pytest.FixtureRequest) -> Iterator[NginxFactory]:
    """Makes nginxes: ``nginx(gateway)`` is one in front of that gateway."""
    made: list[Nginx] = []

    def make(
        habitat: Habitat,
        *,
        start: bool = True,
        in_server: str = "",
        in_http: str = "",
        block: str | None = None,
    ) -> Nginx:
        server = Nginx(habitat, in_server=in_server, in_http=in_http, block=block)
        made.append(server)
        show_on_failure(request, f"nginx {len(made)}", lambda: server.error_log)
        return server.start() if start else server

    yield make
    for server in made:
        server.close()


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A machine of its own to install on; nothing is set up yet."""
    made = Sandbox()
    try:
        made.start()
        show_on_failure(request, "services of the sandbox", made.logs)
        yield made
    finally:
        made.close()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections: ``connect(gateway, 20)``; they are closed after the test."""
    made: list[socket.socket] = []

    def connect(habitat: Habitat, number: int) -> list[socket.socket]:
        new = [habitat.connect() for _ in range(number)]
        made.extend(new)
        return new

    yield connect
    close(made)


@pytest.fixture(scope="module")
def shared_site() -> Iterator[Site]:
    """The one site of a file's tests; they take ``site``."""
    made = Site()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """A gateway behind nginx, shared by the file's tests: each must leave it alive."""
    yield shared_site
    shared_site.check_alive()


@pytest.fixture(scope="module", params=[0.005, 1e-6], ids=["usual switches", "many switches"])
def switches(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a module's tests also with threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="session")
def couch_server() -> Iterator[CouchServer]:
    """The one CouchDB-protocol server of the session; tests take ``couch``."""
    server = CouchServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def couch(request: pytest.FixtureRequest, couch_server: CouchServer) -> CouchServer:
    """The CouchDB-protocol server, running; a test may stop, kill and restart it."""
    show_on_failure(request, "CouchDB-protocol server", lambda: couch_server.log)
    if not couch_server.running():
        couch_server.start()
    return couch_server


@pytest.fixture
def database(couch: CouchServer) -> Iterator[str]:
    """The name of a database that doesn't exist yet, and is deleted after the test."""
    name = f"test{next(_numbers)}"
    yield name
    if not couch.running():
        couch.start()
    couch.delete(name)


@pytest.fixture(params=["sqlite", "couch", "months"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        path = tmp_path / "below" / "archive.sqlite"
        place = Place(ArchiveConfig(uri=f"sqlite:{path}"), [], path=path)
    else:
        couch: CouchServer = request.getfixturevalue("couch")
        database = f"archive{next(_numbers)}"
        if request.param == "months":
            uri = f"{couch.uri(database)}-{{month}}"
            database += "-undated"  # where these tests' documents are, which are of 1970
        else:
            uri = couch.uri(database)
        place = Place(ArchiveConfig(uri=uri), [], couch=couch, database=database)
    yield place
    for archive in place.opened:
        archive.close()


@pytest.fixture
def archive(place: Place) -> Archive:
    archive = place.open()
    assert archive.prepare() == []
    return archive


@pytest.fixture
def proxy(couch: CouchServer) -> Iterator[Proxy]:
    """A proxy in front of the CouchDB-protocol server."""
    made = Proxy(couch)
    yield made
    made.close()


@pytest.fixture
def couch_opener(proxy: Proxy, database: str, tmp_path: Path) -> Iterator[CouchOpener]:
    """Opens archives behind the proxy, and closes them after the test."""
    opened: list[CouchArchive] = []

    def open_it(
        *,
        user: str | None = None,
        password: str | None = None,
        timeout: float = PATIENCE,
        views: tuple[View, ...] = (),
    ) -> CouchArchive:
        password_file = None
        if password is not None:
            password_file = tmp_path / "password"
            password_file.write_text(password + "\n")
        config = ArchiveConfig(
            uri=proxy.uri(database, user),
            password_file=str(password_file) if password_file else None,
            timeout=timeout,
            views=views,
        )
        archive = open_archive(config)
        assert isinstance(archive, CouchArchive)
        opened.append(archive)
        return archive

    yield open_it
    for archive in opened:
        archive.close()


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    """The path of a configuration whose files are all under ``tmp_path``."""
    return cli.write_config(tmp_path)


@pytest.fixture
def run(config_file: str) -> Run:
    """Runs ``habitat`` with that configuration: ``run("journal", "ls")``."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return cli.run(*words, HABITAT_CONFIG=config_file, **more)

    return run


@pytest.fixture
def embedded_archive(config_file: str) -> Iterator[Archive]:
    """The archive of that configuration."""
    opened = open_archive(configuration.load(config_file, {}).archive)
    with contextlib.closing(opened) as archive:
        archive.prepare()
        yield archive


@pytest.fixture
def runs() -> Iterator[list[Running]]:
    """What was started; it is gone in the end."""
    made: list[Running] = []
    yield made
    for one in made:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            one.process.wait(PATIENCE)
