"""The alert rules and the Grafana dashboard fit the metrics that a gateway has."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import HabitatFactory
from tests.support.docs import ETC
from tests.support.net import ROOT, program

RULES = ETC / "prometheus" / "habitat.rules.yml"
RULES_TEST = ROOT / "tests" / "habitat.rules.test.yml"
DASHBOARD: dict[str, Any] = json.loads((ETC / "grafana" / "habitat.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
WIDTH = 24  # columns of Grafana's grid
#: Of a stat, timeseries, heatmap and state-timeline panel: Grafana has them since version 8 or 9.
KINDS = {"row", "stat", "timeseries", "heatmap", "state-timeline"}


def promtool(*words: str) -> None:
    done = subprocess.run(
        [program("promtool"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", str(RULES_TEST))


def test_every_alert_is_tried() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    assert set(re.findall(r"alertname: (\w+)", RULES_TEST.read_text())) == alerts


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression with the title of what it is for."""
    for panel in PANELS:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


def test_the_dashboard_shows_metrics_that_there_are(
    habitat: HabitatFactory,
) -> None:
    gateway = habitat({"networks": {"hisparc": {"station_list": "list.csv"}}}, start=False)
    (gateway.directory / "list.csv").write_text("501,amsterdam,secret\n")
    text = gateway.start().scgi("GET", "/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
    samples = {
        f"{name}_bucket" if kind == "histogram" else name
        for name, kind in kinds.items()
        if not name.endswith("_created")
    }
    for title, expression in expressions():
        names = set(re.findall(r"\bhabitat_\w+", expression))
        assert names, title
        assert names <= samples, title
        # Each looks at the chosen gateways, and counters are never shown as they are.
        assert expression.count('instance=~"$instance"') == len(
            re.findall(r"\bhabitat_\w+", expression)
        ), title
        for name in names:
            if name.endswith("_total"):
                assert re.search(rf"(rate|increase)\({name}\{{", expression), title
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "instance"]
    assert (
        variables["instance"]["definition"].removeprefix("label_values(").split(",")[0] in samples
    )


def test_prometheus_takes_the_dashboards_expressions(tmp_path: Path) -> None:
    rules = [
        {"record": f"x:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression) in enumerate(expressions())
    ]
    path = tmp_path / "rules.json"  # YAML too
    path.write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))
    promtool("check", "rules", "--lint=none", str(path))


def test_panels_fill_the_grid_and_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} over {taken[x, y]}"
                taken[x, y] = panel["title"]
    height = max(y for _, y in taken) + 1
    assert len(taken) == WIDTH * height


def test_panels_are_whole() -> None:
    assert DASHBOARD["schemaVersion"] >= 36  # the panels' options as Grafana 10 and 11 have them
    assert "id" not in DASHBOARD  # the database's number of it, which an import must not bring
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["type"] in KINDS
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        options, defaults = panel["options"], panel["fieldConfig"]["defaults"]
        assert defaults.get("unit") or panel["type"] in ("heatmap", "state-timeline")
        assert options
