"""The documentation and the files in etc/ say what the program does."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import pytest
import yaml

from habitat_like import __version__, main
from habitat_like import cli as cli_package
from habitat_like import config as configuration
from habitat_like.cli.nginx import location_block
from tests.conftest import HabitatFactory, NginxFactory
from tests.support.gateway import Habitat, merge
from tests.support.net import ROOT, free_port, program
from tests.support.nginx import Nginx
from tests.support.wait import eventually
from tools.run import nginx_command

DOCS = ROOT / "docs"
ETC = ROOT / "etc"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in DOCS.glob("*.md"))
TEXTS = ["README.md", "CHANGES.md", *PAGES]
#: What the pages call the server.
HOST = "http://habitat.example"
#: The keys that etc/config.yml sets to what a server needs. All others have their defaults there.
SERVER = {
    "gateway.socket": "/run/habitat/habitat.sock",
    "journal.path": "/var/lib/habitat/journal.sqlite",
    "archive.uri": "couchdb://habitat@127.0.0.1:5984/habitat",
    "archive.password_file": "/etc/habitat/couchdb.password",
}
#: The key whose default depends on the machine: it is there as a comment.
COMMENTED = "gateway.machine_code"

KEYS = dict(configuration.keys())
VARIABLES = configuration.environment_keys()


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(markdown: str, language: str) -> list[str]:
    """The fenced blocks of a language in a text."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", markdown, re.M | re.S)
    return found


def table(name: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    _, _, section = text(name).partition(f"\n{heading}\n")
    assert section, f"{name} has no heading {heading!r}"
    lines = re.findall(r"^\|.*\|$", section.partition("\n\n#")[0].partition("\n#")[0], re.M)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of the command line with its full name."""

    def walk(prefix: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield prefix, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from walk(f"{prefix} {name}", below)

    return walk("habitat", cli_package.habitat)


# Configuration


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented(key: str) -> None:
    rows = {row[0].split("`")[1]: row for row in table("docs/configuration.md", "## All keys")}
    assert key in rows
    _, default, variable, reload = rows[key]
    assert variable == f"`{VARIABLES[key]}`"
    assert reload == ("reload" if key in main.RELOADABLE else "")
    if key == COMMENTED:
        assert default == "the host's name"
    elif KEYS[key] is None:
        assert default == "none"
    else:
        wanted = list(KEYS[key]) if isinstance(KEYS[key], tuple) else KEYS[key]
        assert yaml.safe_load(default.strip("`")) == wanted
    section = rf"^##+ ({re.escape(key)}\b|.* and {re.escape(key)}$|{key.rpartition('.')[2]}$)"
    assert re.search(section, text("docs/configuration.md"), re.M), f"no section about {key}"


def test_nothing_else_is_documented_as_a_key_or_variable() -> None:
    rows = table("docs/configuration.md", "## All keys")
    assert {row[0].split("`")[1] for row in rows} == KEYS.keys()
    known = {*VARIABLES.values(), *configuration.ENVIRONMENT_OTHERS}
    for name in TEXTS:
        assert set(re.findall(r"\bHABITAT_[A-Z_]+\b", text(name))) <= known, name
    for variable in configuration.ENVIRONMENT_OTHERS:
        assert f"${variable}" in text("docs/configuration.md")


def test_reload_is_documented_for_operators() -> None:
    _, _, found = text("docs/operating.md").partition("A **reload** puts these in force:")
    keys = re.findall(r"`([a-z_.]+)`", found.partition("Everything else")[0])
    assert sorted(keys) == sorted(main.RELOADABLE)


def test_shipped_config_has_every_key_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    path = ETC / "config.yml"
    tree = yaml.safe_load(path.read_text())
    present = {
        f"{section}.{key}" if key else section
        for section, value in tree.items()
        for key in (value if f"{section}.{next(iter(value), '')}" in KEYS else [""])
    }
    assert present == KEYS.keys() - {COMMENTED}
    assert re.search(r"^  # machine_code: ", path.read_text(), re.M)

    loaded = configuration.load(str(path))
    for key, default in KEYS.items():
        value: Any = loaded
        for part in key.split("."):
            value = getattr(value, part)
        assert value == SERVER.get(key, default), key


def test_shipped_config_tells_the_defaults_that_it_changes() -> None:
    for key in SERVER:
        default = "null" if KEYS[key] is None else KEYS[key]
        name = key.rpartition(".")[2]
        assert re.search(
            rf"^  # server; default: {re.escape(str(default))}\n  {name}: ",
            (ETC / "config.yml").read_text(),
            re.M,
        ), key


def test_shipped_config_tells_what_a_reload_takes_up() -> None:
    comment: list[str] = []
    section = ""
    marked = set()
    for line in (ETC / "config.yml").read_text().splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line)
        elif match := re.match(r"( *)(\w+):", line):
            key = f"{section}.{match[2]}" if match[1] else match[2]
            section = section if match[1] else match[2]
            if comment and any("(reload)" in part for part in comment):
                marked.add(key)
        else:
            comment = []
        if not line.lstrip().startswith("#"):
            comment = []
    assert marked == main.RELOADABLE


# Command line


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_and_option_is_documented(name: str, command: click.Command) -> None:
    page = text("docs/commands.md")
    assert re.search(rf"^(## |\| `){re.escape(name)}( |`|$)", page, re.M) or name == "habitat", name
    heading = "## habitat journal" if name.startswith("habitat journal ") else f"## {name}"
    section = page.partition(f"\n{heading}\n")[2].partition("\n## ")[0] or page
    for parameter in command.params:
        for option in parameter.opts:
            if option == "--config":
                assert "`--config PATH`" in page
            elif option.startswith("-"):
                assert re.search(rf"[`,(]( |habitat )?{option}\b", section), f"{name} {option}"


def test_exit_codes_are_documented() -> None:
    codes = {row[0] for row in table("docs/commands.md", "## Exit codes")}
    known = {main.DONE, main.FAILED, main.USAGE, cli_package.INTERRUPTED}
    assert codes == {f"`{code}`" for code in known}


# Metrics, alerts, logs


@pytest.fixture
def metrics(habitat: HabitatFactory) -> set[str]:
    """The names of the metrics of a running gateway."""
    reply = habitat().scgi("GET", "/metrics")
    return set(re.findall(r"^# TYPE (\w+) ", reply.text, re.M))


def test_metrics_and_alerts_are_documented(metrics: set[str]) -> None:
    rows = table("docs/operating.md", "### Metrics")
    assert {row[0].strip("`") for row in rows} == metrics

    rules = yaml.safe_load((ETC / "prometheus" / "habitat.rules.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    for alert in alerts:
        used = set(re.findall(r"\bhabitat_\w+", alert["expr"]))
        assert used <= metrics, alert["alert"]
        assert alert["annotations"]["summary"]
        assert alert["labels"]["severity"] in ("warning", "critical")
    documented = [row[0].strip("`") for row in table("docs/operating.md", "### Alerts")]
    assert documented == [alert["alert"] for alert in alerts]


def test_documented_log_messages_exist() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "habitat_like").rglob("*.py"))
    for row in table("docs/operating.md", "## Logs"):
        for message in re.findall(r"`([^`]+)`", row[0]):
            assert f'"{message}"' in sources, message


# HTTP


def test_routes_are_documented(habitat: HabitatFactory) -> None:
    gateway = habitat()
    routes = {row[0].strip("`") for row in table("docs/http.md", "## Routes")}
    for route in routes:
        method, path = route.split()
        assert gateway.scgi(method, path, b"[]").status != 404, route
    index = gateway.scgi("GET", "/").text
    actions = re.findall(r"^  (.*) /(\w+)$", index, re.M)
    assert {f"{method} /{name}" for method, name in actions} <= routes
    assert f"habitat_like {__version__}" in index
    # The operator's pages, which the gateway does not list.
    reserved = {"status", "metrics", "healthz", "readyz"}
    assert {f"GET /{name}" for name in reserved} <= routes


def test_status_is_documented(habitat: HabitatFactory) -> None:
    status = habitat().status()
    documented = next(
        tree
        for tree in map(yaml.safe_load, blocks(text("docs/http.md"), "json"))
        if "uptime" in tree
    )
    assert documented.keys() == status.keys()
    for key in ("archive", "journal", "messages"):
        assert documented[key].keys() == status[key].keys()


def test_status_codes_are_documented() -> None:
    rows = " ".join(row[0] for row in table("docs/http.md", "## Status codes"))
    used = set()
    for path in (ROOT / "habitat_like" / "http").glob("*.py"):
        used |= set(re.findall(r"(?:Refused|Response)\((\d{3})\b", path.read_text()))
        used |= set(re.findall(r"status = (\d{3})\b", path.read_text()))
    for code in used | {"207", "431"}:
        assert f"`{code}`" in rows, code


class Example(NamedTuple):
    """A command in a page and what it prints there."""

    command: list[str]
    output: str


def examples(markdown: str) -> list[Example]:
    """The commands in the console blocks of a text."""
    found = []
    for block in blocks(markdown, "console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            found.append(Example(shlex.split(command), output.rstrip("\n")))
    return found


def ask(nginx: Nginx, example: Example) -> None:
    """Do what the curl command does, and compare."""
    words = iter(example.command)
    assert next(words) == "curl"
    method, path, body = "", "", None
    headers: dict[str, str] = {}
    shows_head = False
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-d":
            body = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word.startswith("-"):
            assert word in ("-s", "-si")
            shows_head = "i" in word
        else:
            assert word.startswith(HOST)
            path = word.removeprefix(HOST)
    method = method or ("GET" if body is None else "POST")
    reply = nginx.request(method, path, body, headers)
    wanted = example.output
    if shows_head:
        head, _, wanted = wanted.partition("\n\n")
        first, *lines = head.splitlines()
        assert first.split()[1] == str(reply.status), (example, reply)
        for line in lines:
            name, _, value = line.partition(": ")
            assert reply.headers.get(name.lower()) == value, (example, reply)
    assert reply.text.rstrip("\n") == wanted, (example, reply)


def test_http_examples(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    front = nginx(habitat())
    found = examples(text("docs/http.md"))
    assert len(found) >= 8
    for example in found:
        ask(front, example)


# Extending


def extension(name: str) -> tuple[str, dict[str, Any], list[Example]]:
    """The code, the configuration and the commands of the section with this file."""
    for section in re.split(r"^## ", text("docs/extending.md"), flags=re.M):
        code = blocks(section, "python")
        if code and code[0].startswith(f"# /etc/habitat/{name}.py\n"):
            (config,) = blocks(section, "yaml")
            assert config.startswith("# in /etc/habitat/config.yml\n")
            return code[0], yaml.safe_load(config), examples(section)
    raise AssertionError(f"docs/extending.md has no {name}.py")


def run_extension(name: str, habitat: HabitatFactory, nginx: NginxFactory) -> Habitat:
    """A gateway with the example beside its configuration, after the example's requests."""
    code, config, commands_ = extension(name)
    gateway = habitat(start=False)
    gateway.config = merge(gateway.config, config)
    (gateway.directory / f"{name}.py").write_text(code)
    gateway.start()
    front = nginx(gateway)
    assert commands_
    for example in commands_:
        ask(front, example)
    return gateway


def archived(gateway: Habitat, type: str) -> list[dict[str, Any]]:
    done = gateway.cli("query", "--type", type, "--format", "ndjson")
    assert done.returncode == 0, done.stderr
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def test_example_of_a_type(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = run_extension("weather", habitat, nginx)
    (document,) = eventually(lambda: archived(gateway, "WEATHER"))
    assert document["data"] == {"temperature": 11.5, "pressure": 1013.2}
    assert document["_id"].startswith("1295103598-")


def test_example_of_an_action(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = run_extension("position", habitat, nginx)
    (document,) = eventually(lambda: archived(gateway, "LISTENER_TELEM"))
    assert document["callsign"] == "M0ZDR"
    assert document["data"] == {
        "latitude": 51.508,
        "longitude": -0.128,
        "altitude": 35.0,
        "time": {"hour": 14, "minute": 59, "second": 58},
    }
    assert '"exception"' not in gateway.log


def test_example_of_a_sink(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = run_extension("telemetry", habitat, nginx)
    wanted = {"number": 123, "latitude": 51.508, "longitude": -0.128, "altitude": 12345}
    (document,) = eventually(lambda: archived(gateway, "TELEM"))
    assert document["data"] == wanted

    # The station sends it again when the gateway has forgotten the first, and its clock is now
    # wrong, so that the corrected time is another: still one of each.
    gateway.restart()
    front = nginx(gateway)
    for example in extension("telemetry")[2]:
        later = [word.replace("1295103707", "1295103000") for word in example.command]
        assert later != example.command
        ask(front, example._replace(command=later))
    eventually(lambda: gateway.status()["backlog"] == 0, "the sinks have taken all")
    assert [one["_id"] for one in archived(gateway, "TELEM")] == [document["_id"]]
    assert len(archived(gateway, "RECEIVED_TELEM")) == 1
    assert gateway.status()["dead_letters"] == 0


def test_every_example_of_code_is_run() -> None:
    names = [re.match(r"# /etc/habitat/(\w+)\.py\n", code) for code in all_python()]
    assert [name and name[1] for name in names] == ["weather", "position", "telemetry"]


def all_python() -> list[str]:
    return [code for page in TEXTS for code in blocks(text(page), "python")]


# Files for a server


def location(conf: str) -> list[str]:
    """The lines of the outer location block, without indentation."""
    start = conf.index("    location / {") if "    location / {" in conf else conf.index("location")
    depth = 0
    lines = []
    for line in conf[start:].splitlines():
        lines.append(line.strip())
        depth += line.count("{") - line.count("}")
        if depth == 0:
            return lines
    raise AssertionError("the block doesn't end")


def test_nginx_file_has_the_block_that_habitat_nginx_prints() -> None:
    printed = location_block(configuration.load(str(ETC / "config.yml"), environ={}))
    shipped = (ETC / "nginx" / "habitat.conf").read_text()
    assert location(shipped) == location(printed)
    for page in ("status", "metrics", "healthz", "readyz"):
        assert re.search(rf"location ~ .*\b{page}\b.*\{{[^}}]*deny  all;", shipped, re.S)


def test_nginx_takes_the_file() -> None:
    conf = (ETC / "nginx" / "habitat.conf").read_text()
    # Ports and paths that belong to a server, and IPv6, which a test machine may not have.
    conf = re.sub(r"listen 80;", f"listen 127.0.0.1:{free_port()};", conf)
    conf = re.sub(r"listen \[::\]:80;", "", conf)
    program("nginx")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        conf = conf.replace("/var/log/nginx/", f"{name}/")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {name}/{kind};\n" for kind in kinds)
        (directory / "nginx.conf").write_text(
            f"pid {name}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{conf}\n}}\n"
        )
        done = subprocess.run(
            [*nginx_command(directory), "-t"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def unit(name: str) -> dict[str, str]:
    """The settings of a systemd unit, the last of each name."""
    lines = (ETC / "systemd" / name).read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#[")
    return {key: value for key, _, value in pairs}


def test_systemd_units_fit_the_configuration() -> None:
    service, socket = unit("habitat.service"), unit("habitat.socket")
    config = configuration.load(str(ETC / "config.yml"), environ={})
    assert socket["ListenStream"] == config.gateway.socket
    assert socket["SocketMode"] == config.gateway.socket_mode
    assert float(service["TimeoutStopSec"]) > config.gateway.shutdown_timeout
    assert float(service["WatchdogSec"]) > main.STUCK
    assert int(service["LimitNOFILE"]) > 2 * config.gateway.max_connections
    assert service["RestartPreventExitStatus"] == str(main.USAGE)
    # Else systemd would remove the socket at every stop.
    assert service["RuntimeDirectoryPreserve"] == "yes"
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp"):
        assert service[key] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    try:
        analyze = program("systemd-analyze")
    except AssertionError:
        pytest.skip("there is no systemd here")
    paths = []
    for source in (ETC / "systemd").iterdir():
        path = tmp_path / source.name
        # It looks whether the program is there.
        path.write_text(source.read_text().replace("/opt/habitat/bin/habitat", "/bin/true"))
        paths.append(str(path))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert not ours, done.stderr
    assert done.returncode == 0, done.stderr


# The pages themselves


def anchors(name: str) -> set[str]:
    """The anchors that the headings of a page have."""
    prose = re.sub(r"^```.*?^```$", "", text(name), flags=re.M | re.S)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose, re.M):
        word = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(word)
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_links(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        assert there.exists(), f"{name}: {target}"
        if anchor:
            page = there.resolve().relative_to(ROOT).as_posix()
            assert anchor in anchors(page), f"{name}: {target}"


def test_every_page_is_in_the_index() -> None:
    for page in PAGES:
        if page != "docs/index.md":
            assert f"]({page.removeprefix('docs/')})" in text("docs/index.md")
            assert f"]({page})" in text("README.md")


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    for name in TEXTS:
        named = re.findall(r"(?:^|`)make ([a-z]+)(?:`|$)", text(name), re.M)
        assert set(named) <= targets, name
    assert {"run", "test", "lint"} <= set(re.findall(r"^make (\w+)$", text("README.md"), re.M))


def test_readme_shows_what_make_run_prints() -> None:
    # The text has the port and paths of an example; tests of `make run` look at the real thing.
    source = (ROOT / "tools" / "run.py").read_text().replace("\\\n", "").replace("{{", "{")
    for line in ("upload a message", "find it in the archive", "Ctrl-C stops both."):
        assert line in source
        assert line in text("README.md")
    upload = next(line for line in text("README.md").splitlines() if "curl -s" in line)
    body = upload[upload.index("/message -d") + 1 :]
    assert body in source.replace("}}", "}").replace("{url}message", "/message")


@pytest.mark.parametrize("name", TEXTS)
def test_commands_in_the_pages_exist(name: str) -> None:
    known = {full for full, _ in commands()}
    for line in re.findall(r"\bhabitat (journal [a-z]+|[a-z]+)\b", "\n".join(shell(name))):
        assert f"habitat {line}" in known, f"{name}: habitat {line}"


def shell(name: str) -> list[str]:
    """Lines of shell blocks that run habitat, without comments."""
    lines = "".join(blocks(text(name), "sh")).splitlines()
    return [
        match[0]
        for line in lines
        if (match := re.search(r"(?:^|/|-- )habitat [a-z]+( [a-z]+)?", line.split(" #")[0]))
        and not line.startswith(("systemctl", "journalctl"))
    ]
