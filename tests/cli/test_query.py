"""``habitat query`` in real processes, on a real archive."""

import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from habitat_like.archive.base import Archive
from tests.support.cli import START, document, environment, on_terminal, run, store


@pytest.fixture
def query(config_file: str, embedded_archive: Archive) -> Callable[..., list[int]]:
    """Runs ``habitat query`` on twelve documents; gives the numbers of those that it prints."""
    store(embedded_archive, [document(number) for number in range(12)])

    def numbers(*words: str) -> list[int]:
        done = run("query", "--config", config_file, "--format", "json", *words)
        assert (done.returncode, done.stderr) == (0, "")
        return [one["data"]["number"] for one in json.loads(done.stdout)]

    return numbers


def test_newest_first_and_the_other_way(query: Callable[..., list[int]]) -> None:
    assert query() == list(range(11, -1, -1))
    assert query("--order", "asc") == list(range(12))


def test_filters(query: Callable[..., list[int]]) -> None:
    assert query("--callsign", "m0zdr") == [9, 6, 3, 0]
    assert query("--callsign", "a/p-1", "--type", "listener_info") == [11, 5]
    assert query("--type", "RECEIVED_TELEM", "--limit", "2") == [10, 8]
    assert query("--callsign", "NOBODY") == []
    assert query("--limit", "all", "--order", "asc") == list(range(12))


def test_since_is_inclusive_and_until_exclusive(query: Callable[..., list[int]]) -> None:
    assert query("--since", str(START + 3), "--until", str(START + 5)) == [4, 3]
    assert query("--since", f"{START + 3}.5", "--until", f"{START + 4}.5") == [4]
    assert query("--since", str(START + 3), "--until", str(START + 3)) == []
    # START is 2026-11-19T15:53:18Z
    assert query("--until", "2026-11-19T15:53:20Z") == [1, 0]
    assert query("--until", "2026-11-19T16:53:19+01:00") == [0]
    assert query("--until", "2026-11-19") == []


def test_relative_times_count_from_now(config_file: str, embedded_archive: Archive) -> None:
    now = int(time.time())
    ages = {"young": 600, "older": 7000, "old": 7400, "ancient": 90000}
    documents = [
        document(at, _id=f"{now - age:010d}-{at:024x}", time_created=now - age, data={"age": name})
        for at, (name, age) in enumerate(ages.items())
    ]
    store(embedded_archive, documents)

    def names(*words: str) -> list[str]:
        done = run("query", "--config", config_file, "--format", "ndjson", *words)
        return [json.loads(line)["data"]["age"] for line in done.stdout.splitlines()]

    assert names("--since", "2h") == ["young", "older"]
    assert names("--since", "2h ago", "--until", "1h ago") == ["older"]
    assert names("--until", "now") == list(ages)


def test_json_is_one_array_also_when_empty(config_file: str, embedded_archive: Archive) -> None:
    words = ("query", "--config", config_file, "--format", "json")
    assert json.loads(run(*words).stdout) == []
    documents = [document(number, data={"name": 'é\n"\u2028\x9b', "n": 1e300}) for number in (0, 1)]
    store(embedded_archive, documents)
    assert json.loads(run(*words, "--order", "asc").stdout) == documents


def test_ndjson_is_a_document_a_line_whatever_the_locale(
    config_file: str, embedded_archive: Archive
) -> None:
    documents = [document(number, data={"name": "é\u2028\r\n"}) for number in (0, 1)]
    store(embedded_archive, documents)
    words = ("query", "--config", config_file, "--format", "ndjson", "--order", "asc")
    done = run(*words, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    lines = done.stdout.split("\n")
    assert lines.pop() == ""
    assert list(map(json.loads, lines)) == documents


def test_csv_keeps_every_value(config_file: str, embedded_archive: Archive) -> None:
    documents = [
        document(0, data={"name": 'a,"b"\nc', "é": [1, None]}),
        document(1, callsign="-1", ip=None),
        document(2, data={}),
    ]
    store(embedded_archive, documents)
    words = ("query", "--config", config_file, "--format", "csv", "--order", "asc")
    rows = list(csv.DictReader(io.StringIO(run(*words).stdout)))
    columns = "time_created,time_uploaded,callsign,type,ip,gateway,_id,data"
    assert ",".join(rows[0]) == columns
    for row, one in zip(rows, documents, strict=True):
        assert json.loads(row.pop("data")) == one.pop("data")
        assert row == {name: "" if v is None else str(v) for name, v in one.items()}


@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv"])
def test_suspicious_messages_are_shown_with_the_reason_to_who_asks(
    form: str, config_file: str, embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(0), document(1, suspicious="dated 1980, before 2020")])
    words = ("query", "--config", config_file, "--format", form)
    assert "1980" not in run(*words).stdout
    assert "suspicious" not in run(*words).stdout.lower()
    asked = run(*words, "--suspicious").stdout
    assert "dated 1980, before 2020" in asked
    assert "suspicious" in asked.lower()
    if form == "csv":
        marks = [row["suspicious"] for row in csv.DictReader(io.StringIO(asked))]
        assert marks == ["dated 1980, before 2020", ""]


def test_an_empty_csv_has_its_header(config_file: str, embedded_archive: Archive) -> None:
    done = run("query", "--config", config_file, "--format", "csv")
    assert done.stdout == "time_created,time_uploaded,callsign,type,ip,gateway,_id,data\n"


def test_the_table_on_a_terminal_stops_at_100_and_says_so(
    config_file: str, embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(number) for number in range(100)])
    code, text = on_terminal("query", "--config", config_file)
    assert (code, len(text.splitlines())) == (0, 101)
    store(embedded_archive, [document(100)])
    lines = on_terminal("query", "--config", config_file)[1].splitlines()
    assert len(lines) == 102
    assert lines[1].startswith("2026-11-19T15:54:58+00:00  2E0UPU")
    assert lines[-1] == "only the first 100 are shown; --limit all shows all"
    for words in (["--limit", "all"], ["--limit", "101"]):
        assert len(on_terminal("query", "--config", config_file, *words)[1].splitlines()) == 102
    done = run("query", "--config", config_file)
    assert (len(done.stdout.splitlines()), done.stderr) == (102, "")


def test_a_terminal_sees_progress_when_the_messages_go_elsewhere(
    config_file: str, embedded_archive: Archive, tmp_path: Path
) -> None:
    store(embedded_archive, [document(number) for number in range(12)])
    words = ("query", "--config", config_file, "--format", "ndjson")
    with (tmp_path / "out").open("wb") as out:
        code, shown = on_terminal(*words, out=out.fileno())
    assert code == 0
    assert "messages" in shown
    assert "12/" in shown
    assert len((tmp_path / "out").read_text().splitlines()) == 12
    assert "12/" not in on_terminal(*words)[1]


def test_an_empty_table_says_so(config_file: str, embedded_archive: Archive) -> None:
    assert run("query", "--config", config_file).stderr == "no message matches\n"


def test_what_a_station_sent_can_not_steer_the_terminal(
    config_file: str, embedded_archive: Archive
) -> None:
    evil = "\x1b]0;owned\x07\x9b2J\u202e\x7f"
    store(embedded_archive, [document(0, data={"name": evil})])
    for words in (["query"], ["tail"], ["tail", "--format", "ndjson"]):
        shown = run(*words, "--config", config_file).stdout if words == ["query"] else ""
        code, terminal = on_terminal(*words, "--config", config_file, columns=200)
        assert code == 0
        assert "owned" in terminal
        for text in (shown, terminal.replace("\x1b[1m", "").replace("\x1b[0m", "")):
            assert not set(evil) - set(" ") & {c for c in text if not c.isprintable()}
    for form in ("json", "ndjson", "csv"):
        _, terminal = on_terminal("query", "--config", config_file, "--format", form, columns=200)
        assert all(line.isprintable() for line in terminal.split("\n"))
        if form == "ndjson":
            assert json.loads(terminal)["data"]["name"] == evil


def test_the_table_has_a_line_a_message_on_a_terminal(
    config_file: str, embedded_archive: Archive
) -> None:
    store(embedded_archive, [document(number, data={"name": "x" * 500}) for number in range(3)])
    _, terminal = on_terminal("query", "--config", config_file, columns=100)
    lines = terminal.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert len(lines) == 4
    assert all(len(line) <= 100 for line in lines)
    assert all(line.endswith("…") for line in lines[1:])
    assert "x" * 500 in run("query", "--config", config_file).stdout


MEASURE = """
import sys
from habitat_like.cli import main
code = main(sys.argv[1:])
status = open('/proc/self/status').read()
print(next(line for line in status.splitlines() if line.startswith('VmHWM')).split()[1],
      file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv"])
def test_streams(form: str, config_file: str, embedded_archive: Archive, tmp_path: Path) -> None:
    """A hundred times the documents, nearly no more memory (kB, the process's high-water mark)."""
    store(embedded_archive, [document(number) for number in range(60_000)])

    def measure(limit: int) -> int:
        with (tmp_path / "out").open("wb") as out:
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, "query", "--format", form, "--limit", str(limit)],
                stdout=out,
                stderr=subprocess.PIPE,
                env=environment(HABITAT_CONFIG=config_file),
                check=True,
            )
        assert (tmp_path / "out").read_bytes().count(b"\n") >= limit
        return int(done.stderr)

    assert measure(60_000) - measure(600) < 4000
