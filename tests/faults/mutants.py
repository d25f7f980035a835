"""``python -m tests.faults.mutants``: break the code on purpose, and see that the campaign notices.

Each mutant is one change of one file in a copy of the tree. The short cut (or, with ``--full``, the
named scenarios in full) must fail on it; the scenario that caught it is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.support.net import ROOT

#: What a copy of the tree needs.
PARTS = ("habitat_like", "tests", "tools", "pyproject.toml", "setup.py")
#: How long the campaign may take on one mutant, in seconds: some hang until a wait gives up.
LIMIT = 1800


class Mutant(NamedTuple):
    """``old`` stands once in ``file`` and is replaced by ``new``.

    ``short`` are the scenarios of the short cut that are tried, ``full`` those that are run in full
    when the short cut has found nothing.
    """

    name: str
    file: str
    old: str
    new: str
    short: tuple[str, ...]
    full: tuple[str, ...] = ()

    def applied(self, text: str) -> str:
        """The file's text, broken."""
        assert text.count(self.old) == 1, f"{self.name}: {self.file} has changed"
        return text.replace(self.old, self.new)


MUTANTS = [
    Mutant(
        "the fsync before the answer is left out",
        "habitat_like/journal/file.py",
        "synchronous={'FULL' if durability == 'full' else 'NORMAL'}",
        "synchronous=NORMAL",
        ("power.loss",),
    ),
    Mutant(
        "the cursor moves before the archive has the batch",
        "habitat_like/message_server/sinks.py",
        "        refused, rows = self._take([entry for entry in entries if self._wants(entry)])\n",
        "        journal.advance(self.name, entries[-1].seq)\n"
        "        self._cursor = entries[-1].seq\n"
        "        refused, rows = self._take([entry for entry in entries if self._wants(entry)])\n",
        ("gateway.kill.at", "archive.down"),
    ),
    Mutant(
        "the reply goes out before the commit",
        "habitat_like/http/batch.py",
        "        durable = not rows or self._commit(rows)\n",
        "        durable = True\n"
        '        __import__("threading").Timer(0.005, self._commit, [rows]).start()\n',
        ("gateway.kill.at",),
    ),
    Mutant(
        "an id is in the window of recent ids before its commit",
        "habitat_like/journal/journal.py",
        "self._commit(fresh)\n",
        "self._recent.update(fresh) or self._commit(fresh)\n",
        ("disk.write.eio", "disk.fsync.eio"),
    ),
    Mutant(
        "a commit that failed is answered 200",
        "habitat_like/http/batch.py",
        "status, data, *_ = answer if stands else _not_durable(own)",
        "status, data, *_ = answer",
        ("disk.write.eio", "disk.full"),
    ),
    Mutant(
        "the socket of a successor is unlinked",
        "habitat_like/http/listening_socket.py",
        "        if self._identity is not None and _identity(self.path) == self._identity:\n"
        "            self.path.unlink(missing_ok=True)",
        "        if not self.inherited:\n            self.path.unlink(missing_ok=True)",
        ("gateway.successor",),
    ),
    Mutant(
        "what the archive refuses is stored nowhere",
        "habitat_like/message_server/sinks.py",
        "        if refused:\n            with journal.dead_letters() as letters:\n"
        "                letters.add",
        "        if False:\n            with journal.dead_letters() as letters:\n"
        "                letters.add",
        ("archive.forbids",),
    ),
    Mutant(
        "prune doesn't look at the cursors",
        "habitat_like/journal/pruning.py",
        "SELECT min(coalesce(min(seq), ?1), ?1) FROM cursor",
        "SELECT ?1",
        ("gateway.kill.prune", "time.jumps"),
    ),
    Mutant(
        "an archive that can't be reached has taken the batch",
        "habitat_like/archive/sink.py",
        "            raise Retry(str(error)) from error\n"
        "        finally:\n            self._tend_nodes()\n"
        "        self._check_begun_anew()\n        self._let_go(0.0)\n",
        "            return []\n"
        "        finally:\n            self._tend_nodes()\n"
        "        self._check_begun_anew()\n        self._let_go(0.0)\n",
        ("archive.down", "archive.toxic"),
    ),
    Mutant(
        "a conflict is a failure",
        "habitat_like/archive/couch_bulk.py",
        '            elif row.error != "conflict":\n',
        "            else:\n",
        ("archive.known", "archive.toxic"),
    ),
    Mutant(
        "a failure is a conflict",
        "habitat_like/archive/couch_bulk.py",
        "        if failed:\n",
        "        if failed and not failed:\n",
        ("archive.toxic",),
    ),
    Mutant(
        "202 means stored",
        "habitat_like/archive/couch_bulk.py",
        "        if status == 202 and (fresh or known):\n",
        "        if status == 202:\n            return\n"
        "        if status == 202 and (fresh or known):\n",
        ("archive.toxic",),
    ),
    Mutant(
        "a start builds on a log that may be in the page cache alone",
        "habitat_like/journal/journal.py",
        "            rewrite_log(self._connection, self.path, WAL_ROOM)\n",
        "",
        ("power.loss.prune",),
        ("power.loss.prune",),
    ),
    Mutant(
        "a checkpoint whose fsync failed is tried again",
        "habitat_like/journal/journal.py",
        "failed=JournalFailed",
        "failed=JournalError",
        ("disk.checkpoint.eio",),
        ("power.loss.checkpoint",),
    ),
    Mutant(
        "the embedded archive goes on after a failed fsync",
        "habitat_like/archive/sqlite_file.py",
        "            sqlite_users.suspect(inode)\n        self._close(in_order=False)\n",
        "            return\n        self._close(in_order=False)\n",
        (),
        ("power.loss.archive",),
    ),
    Mutant(
        "the embedded archive builds on a log that may be in the page cache alone",
        "habitat_like/archive/sqlite_file.py",
        "            self.patiently(lambda: rewrite_log(writer, self.path))\n",
        "",
        (),
        ("power.loss.archive",),
    ),
]


def caught_by(mutant: Mutant, seed: int, *, full: bool) -> str | None:
    """The scenario that fails on the mutant, and how; None if the campaign doesn't notice."""
    directory = Path(tempfile.mkdtemp(prefix="hab-mutant-"))
    try:
        for part in PARTS:
            source, target = ROOT / part, directory / part
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target, symlinks=True, ignore=ignore)
            else:
                shutil.copy(source, target)
        path = directory / mutant.file
        path.write_text(mutant.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
        return _run(directory, mutant.full if full else mutant.short, seed, full=full)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(directory: Path, names: tuple[str, ...], seed: int, *, full: bool) -> str | None:
    out = directory / "out"
    for name in names:
        command = [sys.executable, "-m", "tests.faults", "--exact", "--only", name]
        command += ["--seed", str(seed), "--out", str(out), *([] if full else ["--short"])]
        done = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(directory)},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        assert done.returncode in (0, 1), done.stderr
        if done.returncode == 1:
            (result,) = json.loads((out / "report.json").read_text())
            return f"{name}: {result['problem'].splitlines()[0][:90]}"
    return None


def main() -> int:
    """Exit 0 if every mutant was caught."""
    parser = argparse.ArgumentParser(prog="make mutants ARGS=...", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="try full scenarios where short fails")
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    arguments = parser.parse_args()
    left = []
    for mutant in MUTANTS:
        if arguments.only not in mutant.name:
            continue
        found = caught_by(mutant, arguments.seed, full=False)
        how = "short" if found else "-"
        if found is None and arguments.full:
            found = caught_by(mutant, arguments.seed, full=True)
            how = "full"
        if found is None:
            left.append(mutant.name)
        print(f"{mutant.name}\n    {how}: {found or 'NOT CAUGHT'}", flush=True)
    print(f"{len(left)} not caught" if left else "all were caught")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
