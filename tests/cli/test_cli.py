"""The command line as a whole: help, errors, streams that end early; in real processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from habitat_like import __version__
from habitat_like.archive.base import Archive
from habitat_like.cli import habitat
from habitat_like.cli.options import Command
from tests.support.cli import document, environment, run, store
from tests.support.wait import PATIENCE

COMMANDS = ["check", "export", "import", "journal", "nginx", "query", "serve", "status", "tail"]
JOURNAL_COMMANDS = ["ls", "show", "retry", "export", "drop"]


def test_help_lists_every_command_with_an_example() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"  {name}" in done.stdout for name in COMMANDS)
    assert "Example" in done.stdout
    assert run().stdout == done.stdout


@pytest.mark.parametrize(
    "words", [[name] for name in COMMANDS] + [["journal", name] for name in JOURNAL_COMMANDS]
)
def test_every_command_has_help_with_an_example_and_takes_config(words: list[str]) -> None:
    done = run(*words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--config PATH" in done.stdout
    assert f"habitat {' '.join(words)}" in done.stdout.partition("Example")[2]


def test_every_command_makes_a_line_of_a_configuration_s_mistake() -> None:
    with habitat.make_context("habitat", ["--help"], resilient_parsing=True) as context:
        found = list(_commands(habitat, context))
    assert len(found) > 30
    assert [command.name for command in found if not isinstance(command, Command)] == []


def _commands(group: click.Group, context: click.Context) -> Iterator[click.Command]:
    """All that can be run below a group."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, context)
        else:
            yield command


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom habitat_like.cli import main\nassert main(['--help']) == 0\n"
        "heavy = {'msgspec', 'yaml', 'rich', 'couchdb', 'prometheus_client', 'sqlite3', 'scgi'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_version() -> None:
    assert run("--version").stdout == f"habitat {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["qury"], "did you mean 'query'?"),
        (["query", "--fromat", "x"], "--format"),
        (["query", "--since", "tomorow"], "--since"),
        (["query", "--until", "2026-13-01"], "--until"),
        (["query", "--since", "10", "--until", "9"], "--since is later than --until"),
        (["query", "--callsign", "M0 ZDR"], "'M0 ZDR' can't be a callsign"),
        (["query", "--callsign", ""], "--callsign"),
        (["query", "--callsign", "A" * 65], "--callsign"),
        (["query", "--callsign", "\x1b[2J\nx"], "\\x1b[2J"),
        (["query", "--type", "a-b"], "--type"),
        (["query", "--limit", "0"], "'all'"),
        (["query", "--limit", "-1"], "--limit"),
        (["query", "--order", "up"], "--order"),
        (["query", "--format", "xml"], "--format"),
        (["query", "more"], "more"),
        (["tail", "-n", "-1"], "-n"),
        (["query", "--config", "/nonexistent/config.yml"], "--config"),
        (["--config", "/nonexistent/config.yml", "query"], "--config"),
        (["journal"], "journal --help"),
        (["journal", "retry"], "--all"),
        (["journal", "retry", "1", "--all"], "--all"),
        (["journal", "show", "99999999999999999999"], "ID"),
        (["backup", ""], "name a directory"),
        (["restore", ""], "name a directory"),
        (["export", ""], "habitat export: . is a directory"),
        (["payloads", "check", "/"], "habitat: /: Is a directory"),
        (["payloads", "try", "--payloads", "/nonexistent", "x"], "/nonexistent: No such file"),
        (["ctl", "maintenance", "on", "--message", "\udcff"], "--message is not UTF-8 text"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(words: list[str], said: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("habitat")
    assert done.stderr.rstrip("\n").isprintable()
    assert said in done.stderr


def test_a_configuration_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("archive: {uro: 'sqlite:x'}\n")
    done = run("query", HABITAT_CONFIG=str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "archive.uri" in done.stderr


@pytest.mark.parametrize("command", ["query", "tail"])
def test_an_archive_that_is_not_there_is_one_line_and_exit_code_1(
    command: str, config_file: str
) -> None:
    done = run(command, "--config", config_file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "no archive" in done.stderr


def test_config_before_and_after_the_command_and_in_the_environment(
    config_file: str, embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(0)])
    expected = run("query", "--config", config_file).stdout
    assert "M0ZDR" in expected
    assert run("--config", config_file, "query").stdout == expected
    assert run("query", HABITAT_CONFIG=config_file).stdout == expected
    after = run("--config", "/nonexistent", "query", "--config", config_file)
    assert after.stdout == expected


@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv"])
def test_a_reader_that_goes_away_is_no_error(
    form: str, config_file: str, embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(number) for number in range(3000)])
    words = ["query", "--config", config_file, "--format", form, "--limit", "all"]
    with subprocess.Popen(
        [sys.executable, "-m", "habitat_like.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 0


def test_a_full_disk_is_one_line_and_exit_code_1(
    config_file: str, embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(0)])
    for form in ("table", "ndjson"):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "habitat_like.cli", "query", "--format", form],
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(HABITAT_CONFIG=config_file),
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1
        assert b"No space left" in done.stderr
