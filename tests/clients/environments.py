"""A virtual environment for each program of others, whose dependencies are no concern of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.net import ROOT

PLACE = ROOT / ".venv" / "clients"
#: Seconds for one installation.
TIMEOUT = 540


class Client(NamedTuple):
    """The pinned packages of a client."""

    name: str
    packages: tuple[str, ...]

    @property
    def python(self) -> Path:
        """Its interpreter, there or not."""
        return PLACE / self.name / "bin" / "python"

    @property
    def _mark(self) -> Path:
        return PLACE / f"{self.name}.txt"

    @property
    def problem(self) -> str | None:
        """Why it can't be used, None if it can."""
        if not self._mark.is_file():
            return "not installed; run `make clients`"
        found = self._mark.read_text()
        return None if found == self._wanted else found

    @property
    def _wanted(self) -> str:
        return f"installed: {' '.join(self.packages)}"

    def install(self) -> str | None:
        """Install it, if it is not yet; returns what went wrong, None if nothing did."""
        if self._mark.is_file() and self.problem is None and self.python.exists():
            return None
        PLACE.mkdir(parents=True, exist_ok=True)
        place = PLACE / self.name
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--prefer-binary"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(place)],
            [*pip, "--disable-pip-version-check", *self.packages],
        ):
            try:
                done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
                failed = done.returncode != 0
                lines = done.stderr.decode(errors="replace").strip().splitlines()
            except subprocess.TimeoutExpired:
                failed, lines = True, [f"took more than {TIMEOUT} seconds"]
            if failed:
                reason = lines[-1][:300] if lines else "no reason was given"
                self._mark.write_text(f"can't be installed: {reason}")
                return reason
        self._mark.write_text(self._wanted)
        return None


CLIENTS = {
    client.name: client
    for client in (
        Client("cloudevents", ("cloudevents==2.2.0", "requests")),
        Client("horusdemodlib", ("horusdemodlib==0.6.2",)),
        Client("influxdb_client", ("influxdb-client==1.50.0",)),
        Client("safecastpy", ("SafecastPy==0.1.1",)),
        Client("sondehub", ("sondehub==0.3.2",)),
        Client("weewx", ("weewx==5.5.2",)),
    )
}

#: Where the examples of docs/analysis.md and docs/sql.md are run. The versions are fixed, as each
#: prints tables in its own way.
ANALYST = Client(
    "analyst",
    (
        *("--editable", f"{ROOT}[pandas,parquet]", "pandas==3.1.1", "duckdb==2.0.1"),
        *("matplotlib==3.11.2", "nbclient==0.11.0", "ipykernel==7.4.0"),
    ),
)
DATASETTE = Client("datasette", ("datasette==0.65.5",))
