"""The examples in the documentation are run, and do what is written beside them."""

from __future__ import annotations

import re
import shlex
import time
from typing import Any, NamedTuple

import msgspec
import yaml

from tests.conftest import HabitatFactory, NginxFactory
from tests.support.docs import TEXTS, blocks, text
from tests.support.gateway import Habitat, merge
from tests.support.nginx import Nginx
from tests.support.wait import eventually

#: What the pages call the server.
HOST = "http://habitat.example"
#: What ``$(date +%s)`` is in all of the examples.
NOW = int(time.time())


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
            words = shlex.split(command.replace("$(date +%s)", str(NOW)))
            found.append(Example(words, output.rstrip("\n")))
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
    assert without_ids(reply.text.rstrip("\n")) == without_ids(wanted), (example, reply)


def without_ids(text: str) -> str:
    """A text whose ids of messages, which have the time in them, are all the same."""
    return re.sub(r"\b\d{10}-[0-9a-f]{24}\b", "ID", text)


def test_http_examples(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    front = nginx(habitat())
    found = examples(text("docs/http.md"))
    assert len(found) >= 8
    for example in found:
        ask(front, example)


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
    assert document["_id"].startswith(f"{NOW}-")


def test_example_of_an_action(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = run_extension("position", habitat, nginx)
    (document,) = eventually(lambda: archived(gateway, "LISTENER_TELEM"))
    clock = time.gmtime(NOW)
    assert document["callsign"] == "M0ZDR"
    assert document["data"] == {
        "latitude": 51.508,
        "longitude": -0.128,
        "altitude": 35.0,
        "time": {"hour": clock.tm_hour, "minute": clock.tm_min, "second": clock.tm_sec},
    }
    assert '"exception"' not in gateway.log


def test_example_of_a_network(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = run_extension("rain", habitat, nginx)
    (document,) = eventually(lambda: archived(gateway, "SENSOR"))
    assert document["callsign"] == "GARDEN-1"
    assert document["data"] == {
        "network": "rain",
        "uploader": "garden-1",
        "values": {"rain_mm": 0.2},
    }
    assert gateway.status()["networks"]["rain"]["observations"] == {"SENSOR": 1}
    assert gateway.scgi("GET", "/rain?id=garden-1&mm=wet").status == 400
    assert "networks.rain.Rain: accepts uploads to /rain" in gateway.cli("check").stdout
    gateway.config["networks"]["rain.Rain"]["units"] = "inch"
    gateway.write_config()
    done = gateway.cli("check")
    assert done.returncode == 2
    assert "unknown key 'networks.rain.Rain.units'; did you mean 'unit'?" in done.stdout


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
        later = [
            word.replace(f'"time_uploaded": {NOW}', f'"time_uploaded": {NOW - 700}')
            for word in example.command
        ]
        assert later != example.command
        ask(front, example._replace(command=later))
    eventually(lambda: gateway.status()["backlog"] == 0, "the sinks have taken all")
    assert [one["_id"] for one in archived(gateway, "TELEM")] == [document["_id"]]
    assert len(archived(gateway, "RECEIVED_TELEM")) == 1
    assert gateway.status()["dead_letters"] == 0


def test_example_of_an_archive(habitat: HabitatFactory, nginx: NginxFactory) -> None:
    gateway = run_extension("directory", habitat, nginx)
    (document,) = eventually(lambda: archived(gateway, "LISTENER_INFO"))
    assert document["data"] == {"name": "Adam"}
    export = gateway.cli("export", "all.ndjson")
    assert export.returncode == 0, export.stderr
    assert msgspec.json.decode((gateway.directory / "all.ndjson").read_bytes()) == document
    tail = gateway.cli("tail", "-n", "1", "--format", "ndjson")
    assert msgspec.json.decode(tail.stdout) == document
    assert gateway.status()["archive"]["state"] == "ok"
    assert gateway.cli("check").returncode == 0


def test_every_example_of_code_is_run() -> None:
    names = [re.match(r"# /etc/habitat/(\w+)\.py\n", code) for code in all_python()]
    assert [name and name[1] for name in names] == [
        *("weather", "position", "rain", "telemetry", "directory")
    ]


def all_python() -> list[str]:
    """All but that of an analyst, which test_analysis.py runs."""
    pages = [page for page in TEXTS if page != "docs/analysis.md"]
    return [code for page in pages for code in blocks(text(page), "python")]
