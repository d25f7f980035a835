"""The configuration: defaults, the file, the environment, and every mistake in one line."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from habitat_like import config
from habitat_like.config import hints
from habitat_like.config.keys import Config, ConfigError, socket_mode


def load(tmp_path: Path, text: str, **environ: str) -> Config:
    path = tmp_path / "config.yml"
    path.write_text(text)
    return config.load(str(path), environ)


def mistake(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Config()
    assert load(tmp_path, "gateway:\njournal:\n") == Config()


def test_keys_take_the_place_of_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, "gateway: {timeout: 2.5, actions: [message]}\njournal: {sync: normal}")
    assert loaded.gateway.timeout == 2.5
    assert loaded.gateway.actions == ("message",)
    assert loaded.journal.sync == "normal"
    assert loaded.gateway.workers == 4


def test_the_environment_overrides_every_key(tmp_path: Path) -> None:
    values: dict[str, str] = {
        "gateway.socket_mode": "0600",
        "gateway.actions": "message, my.module.weather",
        "gateway.timeout": "3",
        "gateway.workers": "2",
        "archive.uri": "sqlite:elsewhere.sqlite",
        "journal.max_backlog": "7",
        "log.level": "debug",
        "sinks": "[]",
        "types": "{WEATHER: my.Weather}",
    }
    names = config.environment_keys()
    environ = {names[key]: value for key, value in values.items()}
    loaded = load(tmp_path, "gateway: {socket_mode: '0666', workers: 9}", **environ)
    assert loaded.gateway.socket_mode == "0600"
    assert loaded.gateway.actions == ("message", "my.module.weather")
    assert loaded.gateway.timeout == 3
    assert loaded.gateway.workers == 2
    assert loaded.archive.uri == "sqlite:elsewhere.sqlite"
    assert loaded.journal.max_backlog == 7
    assert loaded.log.level == "debug"
    assert loaded.sinks == ()
    assert loaded.types == {"WEATHER": "my.Weather"}


def test_every_key_has_a_variable_of_its_own() -> None:
    names = config.environment_keys()
    assert names["archive.uri"] == "HABITAT_ARCHIVE_URI"
    assert len(set(names.values())) == len(names) == len(list(config.keys()))


def test_the_file_is_found_by_argument_then_environment(tmp_path: Path) -> None:
    named = tmp_path / "named.yml"
    named.write_text("gateway: {workers: 7}")
    assert config.load(None, {"HABITAT_CONFIG": str(named)}).gateway.workers == 7
    with pytest.raises(ConfigError, match="No such file"):
        config.load(str(tmp_path / "missing.yml"), {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gatway: {}", "unknown key 'gatway'; did you mean 'gateway'?"),
        ("gateway: {tiemout: 3}", "'gateway.tiemout'; did you mean 'gateway.timeout'?"),
        ("timeout: 3", "did you mean 'gateway.timeout'?"),
        ("archive: {url: x}", "did you mean 'archive.uri'?"),
        ("gateway: {timeout: soon}", "gateway.timeout: "),
        ("gateway: {timeout: 0}", "gateway.timeout: "),
        ("gateway: {workers: 0}", "gateway.workers: "),
        ("gateway: {workers: true}", "gateway.workers: "),
        ("gateway: {max_body: -1}", "gateway.max_body: "),
        ("gateway: {actions: message}", "gateway.actions: "),
        ("gateway: {socket_mode: 660}", 'put the mode in quotes, as in "0660"'),
        ("gateway: {socket_mode: '9999'}", "gateway.socket_mode: "),
        ("gateway: {socket: '" + "x" * 108 + "'}", "at most 107 bytes"),
        ("gateway: [1]", "gateway: "),
        ("gateway: 5", "gateway: "),
        ("gateway: {workers: 200000}", "gateway.workers: "),
        ("gateway: {max_batch: 99999999}", "gateway.max_batch: "),
        ("gateway: {max_connections: 99999999999999999999}", "gateway.max_connections: "),
        ("archive: {batch: 100000000000000000000}", "archive.batch: "),
        ("journal: {sync: off}", "journal.sync: "),
        ("journal: {sync: Full}", "one of full, normal"),
        ("log: {level: loud}", "one of debug, info, warning, error"),
        ("gateway.workers: 3", "'gateway.workers' is written as 'workers:' below 'gateway:'"),
        ("GATEWAY: {}", "did you mean 'gateway'?"),
        ("journal: {workers: 3}", "did you mean 'gateway.workers'?"),
        ("sinks: ", "sinks: "),
        ("types: {5: a.b}", "types: "),
        ("archive: {retry_min: 9, retry_max: 1}", "archive.retry_min: "),
        ("sinks: [a.b, a.b]", "sinks[1]: the sink a.b appears twice"),
        ("sinks: [a.b: {name: x}, c.d: {name: x}]", "sinks[1]: the sink x appears twice"),
        ("sinks: [{a.b: {}, c.d: {}}]", "sinks[0]: expected"),
        ("sinks: [a.b: 5]", "sinks[0]: expected settings"),
        ("sinks: [7]", "sinks[0]: expected a dotted path"),
        ("sinks: a.b", "sinks: expected a list"),
        ("a: 1\na: 2", "line 2: the key 'a' appears twice"),
        ("gateway:\n  - [", "line 2: "),
        ('gateway: {socket: "a\\0b"}', "gateway.socket: 'a\\x00b' has a NUL or is not UTF-8"),
        ('stations: "\\ud800"', "stations: '\\ud800' has a NUL or is not UTF-8"),
        ("gateway: &a {socket: *a}", "gateway.socket: is inside itself"),
        ("sinks: &a [*a]", "sinks[0]: is inside itself"),
        ("- x", "expected sections"),
        ("just text", "expected sections"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_place(tmp_path: Path, text: str, says: str) -> None:
    line = mistake(tmp_path, text)
    assert says in line
    assert line.startswith(str(tmp_path / "config.yml"))


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    assert "HABITAT_GATEWAY_TIMEOUT" in mistake(tmp_path, "", HABITAT_GATEWAY_TIMEOUT="soon")


def test_a_mistake_that_no_type_shows_names_the_variable_too(tmp_path: Path) -> None:
    line = mistake(tmp_path, "", HABITAT_GATEWAY_SOCKET_MODE="9999")
    assert line.startswith("environment variable HABITAT_GATEWAY_SOCKET_MODE: gateway.socket_mode:")


def test_a_variable_that_overrides_nothing_is_told_with_the_nearest_name() -> None:
    lines = config.unknown_environment({"HABITAT_ARCHVE_URI": "x", "HABITAT_CONFIG": "x", "A": "b"})
    assert len(lines) == 1
    assert "HABITAT_ARCHIVE_URI" in lines[0]


@pytest.mark.parametrize(("text", "mode"), [("'0660'", 0o660), ("0660", 0o660), ("'600'", 0o600)])
def test_the_sockets_mode_is_octal_with_or_without_quotes(
    tmp_path: Path, text: str, mode: int
) -> None:
    loaded = load(tmp_path, f"gateway: {{socket_mode: {text}}}")
    assert socket_mode(loaded.gateway.socket_mode) == mode


def test_secrets_are_masked(tmp_path: Path) -> None:
    loaded = load(tmp_path, "archive: {uri: 'couchdb://user:se@cret@host/db'}")
    shown = str(config.effective(loaded))
    assert "cret" not in shown
    assert "couchdb://user:***@host/db" in shown


nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["gateway", "archive", "uri", "timeout", "sinks", "types", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(nodes)
def test_any_yaml_is_a_configuration_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, tree: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_text(yaml.safe_dump(tree))
    try:
        config.load(str(path), {})
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right)


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "text.yml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config.load(str(path), {})
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("log: {}\ngateway: {timeout: 2026-13-45}", "line 2: this can't be read as timestamp"),
        ("gateway: {timeout: !!timestamp x}", "line 1: this can't be read as timestamp"),
        ("gateway: {workers: !!int x}", "line 1: this can't be read as int; if it is text, put it"),
        ("console: {trust_proxy_auth: !!bool x}", "line 1: this can't be read as bool"),
        (f"gateway: {{workers: {'9' * 5000}}}", "line 1: this can't be read as int"),
        ('journal: {path: "\\UFFFFFFFF"}', "can't be read as YAML"),
    ],
)
def test_a_value_that_is_not_what_it_looks_like_is_told_with_its_line(
    tmp_path: Path, text: str, says: str
) -> None:
    assert says in mistake(tmp_path, text)


@pytest.mark.parametrize("list_", ["[2026-13-45]", '["\\UFFFFFFFF"]', "[!!bool x]", "[" * 5000])
def test_a_list_in_the_environment_that_can_not_be_read_is_told(tmp_path: Path, list_: str) -> None:
    line = mistake(tmp_path, "", HABITAT_GATEWAY_ACTIONS=list_)
    assert line.startswith("environment variable HABITAT_GATEWAY_ACTIONS: not a YAML list")


@pytest.mark.parametrize("end", ["networks: {weather: {a: *j}}", "other: *j"])
def test_aliases_that_repeat_a_text_billions_of_times_are_told(tmp_path: Path, end: str) -> None:
    names = "abcdefghij"
    lines = [
        f"- &{name} [{', '.join([f'*{below}'] * 9)}]" for below, name in itertools.pairwise(names)
    ]
    text = "\n".join(["types:", "- &a [x]", *lines, end])
    assert mistake(tmp_path, text)
    text = "\n".join(["types:", "- &a [x]", *lines])
    assert "over 100000 values, as aliases repeat them; write it out" in mistake(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("log: {file: x}\njournal: {path: ./x}", "log.file: this is journal.path; choose another"),
        ("log: {file: a/../x}\narchive: {uri: 'sqlite:x'}", "log.file: this is archive.uri"),
        ("journal: {path: x}\narchive: {uri: 'sqlite:x'}", "archive.uri: this is journal.path"),
        ("gateway: {socket: x}\njournal: {path: x}", "journal.path: this is gateway.socket"),
        ("gateway: {socket: x}\ncontrol: {socket: ./x}", "control.socket: this is gateway.socket"),
        ("journal: {path: ':memory:'}", "journal.path: messages must be on disk; name a file"),
    ],
)
def test_no_two_files_are_at_one_path(tmp_path: Path, text: str, says: str) -> None:
    assert says in mistake(tmp_path, text)


@pytest.mark.parametrize("address", ["127.0.0.1:4000", ":4000", "tcp:a:1", "unix:/run/s"])
def test_an_address_is_no_path_of_a_socket(tmp_path: Path, address: str) -> None:
    for section in ("gateway", "control"):
        text = mistake(tmp_path, f"{section}: {{socket: '{address}'}}")
        assert f"{section}.socket: not the path of a UNIX socket, such as /" in text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("gateway: {socket: ~/s}", "gateway.socket"),
        ("journal: {path: ~/journal.sqlite}", "journal.path"),
        ("archive: {uri: 'sqlite:~/archive.sqlite'}", "archive.uri"),
        ("log: {file: ~/habitat.log}", "log.file"),
    ],
)
def test_a_tilde_is_no_home_directory(tmp_path: Path, text: str, key: str) -> None:
    assert f"{key}: ~ is no home directory here; write the whole path" in mistake(tmp_path, text)


# what YAML takes for something else


@pytest.mark.parametrize("word", ["NO", "no", "yes", "On", "off", "true"])
def test_a_word_that_yaml_takes_for_true_or_false_is_told_to_be_quoted(
    tmp_path: Path, word: str
) -> None:
    text = mistake(tmp_path, f"access: {{blocked_callsigns: [M0ZDR, {word}]}}")
    assert "access.blocked_callsigns[1]: " in text
    assert text.endswith(f'YAML takes {word} for true or false: put it in quotes, as in "{word}"')
    assert load(tmp_path, f'access: {{blocked_callsigns: ["{word}"]}}').access.blocked_callsigns


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("12:30", "a number"),
        ("123", "a number"),
        ("007", "a number"),
        ("1.5e+3", "a number"),
        ("2026-11-21", "a date"),
        ("2026-11-21T14:00:00Z", "a date"),
    ],
)
def test_text_that_yaml_takes_for_something_else_is_told_to_be_quoted(
    tmp_path: Path, value: str, kind: str
) -> None:
    text = mistake(tmp_path, f"gateway: {{machine_code: {value}}}")
    assert text.endswith(f'YAML takes {value} for {kind}: put it in quotes, as in "{value}"')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("journal: {retention: 1d}", "journal.retention: Expected float, got str; times are"),
        ("journal: {retention: 1d}", "in seconds: write 86400"),
        ("journal: {retention: 2 weeks}", "in seconds: write 1209600"),
        ("gateway: {timeout: 1h30m}", "in seconds: write 5400"),
        ("gateway: {timeout: 10s}", "in seconds: write 10"),
        ("gateway: {timeout: 12:30}", "YAML takes 12:30 for 750"),
        ("journal: {retention: 24:00:00}", "YAML takes 24:00:00 for 86400"),
        (
            "gateway: {workers: 010}",
            "YAML takes 010 for 8; write it without the zero in front, as 10",
        ),
        ("gateway: {workers: 08}", "write it without the zero in front, as 8"),
        ("gateway: {max_body: 10MiB}", "no unit: write 10485760"),
        ("gateway: {max_body: 10 MB}", "no unit: write 10000000"),
        ("gateway: {max_body: 64k}", "no unit: write 64000"),
        ("gateway: {max_body: '1,000,000'}", "write it as 1000000"),
        ("gateway: {timeout: 2026-11-21}", "got date; write a number"),
        ("gateway: {actions: message}", "write a list, as in [message]"),
        ("console: {trust_proxy_auth: maybe}", "write true or false"),
        ("gateway: {workers: +010}", "takes +010 for 8; write it without the zero in front, as 10"),
        ("gateway: {workers: 0_10}", "YAML takes 0_10 for 8"),
        ("access: {rate_per_address: 1.5}", "got float; write a whole number"),
        ("archive: {keep: 30d}", "got str; write a whole number"),
        ("archive: {retry_min: 500ms}", "got str; write a number"),
        ("journal: {path: [a]}", "got array; write one text"),
        ("gateway: {actions: 2026-11-21}", "got date; write a list, as in [a, b]"),
        ("types: x", "got str; write 'name: value' below it"),
        ("types: {A: no}", "YAML takes it for true or false: put it in quotes"),
        ("networks: {no: {}}", "YAML takes it for true or false: put it in quotes"),
        ("sinks: [a.b: {name: 010}]", "YAML takes it for a number: put it in quotes"),
    ],
)
def test_a_number_written_in_another_way_is_told_how_to_write_it(
    tmp_path: Path, text: str, says: str
) -> None:
    assert says in mistake(tmp_path, text)


def test_a_variable_in_another_encoding_is_told(tmp_path: Path) -> None:
    for name in ("GATEWAY_MACHINE_CODE", "JOURNAL_PATH", "NETWORKS_WEATHER_UNKNOWN"):
        line = mistake(tmp_path, "networks: {weather: {}}", **{f"HABITAT_{name}": "a\udcff"})
        assert line.startswith(f"environment variable HABITAT_{name}: ")
        assert line.endswith("'a\\udcff' has a NUL or is not UTF-8 text")


def test_a_section_may_be_merged_from_another(tmp_path: Path) -> None:
    text = "gateway: &a {workers: 7}\njournal: {path: x}\ncontrol: {<<: {socket: y}}"
    assert load(tmp_path, text).control.socket == "y"


def test_the_environment_gets_the_same_hints(tmp_path: Path) -> None:
    text = mistake(tmp_path, "", HABITAT_JOURNAL_RETENTION="7d")
    assert text.startswith("environment variable HABITAT_JOURNAL_RETENTION: ")
    assert text.endswith("write 604800")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeffgateway: {workers: 7}").gateway.workers == 7


@given(st.integers(1, 65536))
def test_a_plain_number_needs_no_hint(number: int) -> None:
    assert hints.misread(f"gateway: {{workers: {number}}}", {"gateway.workers"}) is None
