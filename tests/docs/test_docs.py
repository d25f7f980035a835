"""The documentation says what the program does."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
import yaml

from habitat_like import __version__
from habitat_like import cli as cli_package
from habitat_like.config.file import ENVIRONMENT_OTHERS
from habitat_like.config.keys import Config
from habitat_like.main.signals import DONE, FAILED, USAGE
from habitat_like.steering.reload import RELOADABLE
from tests.conftest import HabitatFactory
from tests.support.docs import COMMENTED, ETC, KEYS, PAGES, TEXTS, VARIABLES, blocks, table, text
from tests.support.net import ROOT


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


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented(key: str) -> None:
    rows = {row[0].split("`")[1]: row for row in table("docs/configuration.md", "## All keys")}
    assert key in rows
    _, default, variable, reload = rows[key]
    assert variable == f"`{VARIABLES[key]}`"
    assert reload == ("reload" if key in RELOADABLE else "")
    if key == COMMENTED:
        assert default == "the host's name"
    elif KEYS[key] is None:
        assert default == "none"
    elif key == "sinks":
        assert yaml.safe_load(default.strip("`")) == Config().sink_names
    else:
        wanted = list(KEYS[key]) if isinstance(KEYS[key], tuple) else KEYS[key]
        assert yaml.safe_load(default.strip("`")) == wanted
    section = rf"^##+ ({re.escape(key)}\b|.* and {re.escape(key)}$|{key.rpartition('.')[2]}$)"
    assert re.search(section, text("docs/configuration.md"), re.M), f"no section about {key}"


def test_nothing_else_is_documented_as_a_key_or_variable() -> None:
    rows = table("docs/configuration.md", "## All keys")
    assert {row[0].split("`")[1] for row in rows} == KEYS.keys()
    known = {*VARIABLES.values(), *ENVIRONMENT_OTHERS}
    for name in TEXTS:
        assert set(re.findall(r"\bHABITAT_[A-Z_]+\b", text(name))) <= known, name
    for variable in ENVIRONMENT_OTHERS:
        assert f"${variable}" in text("docs/configuration.md")


def test_reload_is_documented_for_operators() -> None:
    _, _, found = text("docs/operating.md").partition("A **reload** puts these in force:")
    keys = re.findall(r"`([a-z_.]+)`", found.partition("Everything else")[0])
    assert sorted(keys) == sorted(RELOADABLE)


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
    known = {DONE, FAILED, USAGE, cli_package.INTERRUPTED}
    assert codes == {f"`{code}`" for code in known}


@pytest.fixture
def metrics(habitat: HabitatFactory) -> set[str]:
    """The names of the metrics of a running gateway that has those of networks, too."""
    gateway = habitat({"networks": {"hisparc": {"station_list": "list.csv"}}}, start=False)
    (gateway.directory / "list.csv").write_text("501,amsterdam,secret\n")
    reply = gateway.start().scgi("GET", "/metrics")
    return set(re.findall(r"^# TYPE (\w+) ", reply.text, re.M))


def test_metrics_and_alerts_are_documented(metrics: set[str]) -> None:
    rows = table("docs/monitoring.md", "### Metrics")
    assert {row[0].strip("`") for row in rows} == metrics

    rules = yaml.safe_load((ETC / "prometheus" / "habitat.rules.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    for alert in alerts:
        used = set(re.findall(r"\bhabitat_\w+", alert["expr"]))
        assert used <= metrics, alert["alert"]
        assert alert["annotations"]["summary"]
        assert alert["labels"]["severity"] in ("warning", "critical")
    documented = [row[0].strip("`") for row in table("docs/monitoring.md", "### Alerts")]
    assert documented == [alert["alert"] for alert in alerts]


def test_documented_log_messages_exist() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "habitat_like").rglob("*.py"))
    for row in table("docs/monitoring.md", "## Logs"):
        for message in re.findall(r"`([^`]+)`", row[0]):
            assert f'"{message}"' in sources, message


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


def test_tests_that_are_named_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", text("docs/security.md"))
    assert named
    for path in named:
        assert (ROOT / path).is_file(), path


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
    for line in ("upload a message", "find it in the archive", "See what flows on", "Ctrl-C stops"):
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
