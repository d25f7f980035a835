"""The gateway itself: its unit, whether it answers, and what it says is wrong."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from habitat_like import __version__
from habitat_like.cli import status as status_command
from habitat_like.cli.check import CONFIG_ERROR
from habitat_like.cli.doctor.seen import ERROR, OK, WARNING, Look, Machine, Seen
from habitat_like.statistics.status import READY, Status

#: Seconds for `habitat check`: it waits for the archive.
CHECK_TIMEOUT = 300.0
#: A command at the end of a finding's text.
COMMAND = re.compile(r"; ((?:chmod|chown|habitat|groupadd|install|curl|HABITAT_\w+=).*)$")
#: What a trouble's text has in it, and the command that mends it; the first that fits.
MENDS = (
    ("aintenance", "habitat ctl maintenance off"),
    ("while the gateway runs", "{restart}"),
    ("restart the gateway", "{restart}"),
    ("draining", "{restart}"),
    ("disk is full", "du -xh {journal} | sort -h | tail"),
    ("The disk of the", "du -xh {journal} | sort -h | tail"),
    ("backlog", "{user}habitat check"),
    ("can't be used", "{user}habitat check"),
    ("clock", "timedatectl set-ntp true"),
    ("dead letter", "habitat journal ls"),
    ("log can't be written", "systemctl restart {service}"),
    ("No message for", "tail /var/log/nginx/habitat.access.log"),
)


def look(machine: Machine) -> Look:
    """The unit, and what the running gateway says."""
    is_failed = False
    if machine.has_units:
        for seen in _units(machine):
            is_failed |= seen.mark == ERROR
            yield seen
    try:
        status, _ = status_command.ask(machine.config.gateway)
    except click.ClickException as error:
        if not is_failed:
            text = f"{error.message}{machine.last_words()}"
            yield Seen(ERROR, "gateway", text, machine.restart)
        return
    yield from _running(machine, status)


def _units(machine: Machine) -> Look:
    state, result = machine.unit("ActiveState"), machine.unit("Result")
    if state in ("failed", "inactive"):
        why = {
            "oom-kill": "it was killed for want of memory (MemoryMax=)",
            "watchdog": "it hung, and its watchdog ended it",
            "signal": "it was killed",
        }.get(result, f"{machine.service} is {state}")
        text = f"{why}{machine.last_words()}"
        yield Seen(ERROR, "gateway", text, machine.restart)
    elif (of_socket := machine.unit("ActiveState", machine.socket_unit)) != "active":
        text = f"{machine.socket_unit} is {of_socket or 'not there'}: nobody takes requests"
        yield Seen(ERROR, "gateway", text, machine.restart)
    for unit in (machine.socket_unit, machine.service):
        if machine.unit("NeedDaemonReload", unit) == "yes":
            text = f"systemd has not read {unit} since it changed"
            yield Seen(WARNING, "gateway", text, f"systemctl daemon-reload && {machine.restart}")
        if machine.unit("UnitFileState", unit) == "disabled":
            text = f"{unit} is not enabled: after a reboot it does not start"
            yield Seen(WARNING, "gateway", text, f"systemctl enable {unit}")


def _running(machine: Machine, status: Status) -> Look:
    if status.version != __version__:
        text = f"version {status.version} runs, and {__version__} is installed"
        yield Seen(WARNING, "gateway", text, f"systemctl restart {machine.service}")
    began = time.time() - status.uptime
    if machine.path.exists() and machine.path.stat().st_mtime > began:
        text = f"{machine.path} was changed after the gateway's start; a reload reads some keys"
        yield Seen(WARNING, "gateway", text, f"systemctl restart {machine.service}")
    for trouble in status.troubles:
        yield Seen(trouble.level, "gateway", trouble.text, _mend(machine, trouble.text))
    if status.state == READY:
        yield Seen(OK, "gateway", f"it serves, up {status.uptime:.0f} s")
    elif not any(trouble.level == ERROR for trouble in status.troubles):
        yield Seen(ERROR, "gateway", status.state, _mend(machine, status.state))


def _mend(machine: Machine, text: str) -> str:
    command = next((command for words, command in MENDS if words in text), "habitat status")
    return command.format(
        restart=machine.restart,
        service=machine.service,
        user=machine.as_user,
        journal=shlex.quote(str(Path(machine.config.journal.path).absolute().parent)),
    )


def check(machine: Machine) -> list[Seen]:
    """What ``habitat check`` finds as the gateway's user, but for what is well."""
    command = [sys.executable, *_program(), "check", "--json", "--config", str(machine.path)]
    again = f"{machine.as_user}habitat check --config {shlex.quote(str(machine.path))}"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_TIMEOUT,
            check=False,
            cwd="/",
            **_identity(machine),
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        text = "habitat check does not come to an end; look what it says"
        return [Seen(WARNING, "check", text, again)]
    seen = []
    for one in found:
        text = " ".join(str(one["text"]).split())
        command_in_text = COMMAND.search(text)
        mend = command_in_text[1] if command_in_text else again
        mark = ERROR if one["mark"] == CONFIG_ERROR else str(one["mark"])
        seen.append(Seen(mark, str(one["subject"]), text, "" if mark == OK else mend))
    return seen


def _program() -> list[str]:
    """How this command was started, without its arguments."""
    script = Path(sys.argv[0])
    return [str(script)] if script.name == "habitat" else ["-m", "habitat_like.cli"]


def _identity(machine: Machine) -> dict[str, Any]:
    """The gateway's user, as ``subprocess`` takes it; nothing where we can't become it."""
    if not machine.is_root:
        return {}
    user = pwd.getpwnam(machine.user)
    return {
        "user": user.pw_uid,
        "group": user.pw_gid,
        "extra_groups": os.getgrouplist(user.pw_name, user.pw_gid),
    }
