"""Alerts and dashboard: they are valid, the alerts fire when they should, and each metric they name is one there is."""

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.observability.metrics import Metrics
from tests.external_tools import tool
from tests.server_process import ROOT

OBSERVABILITY = ROOT / "observability"
PROMETHEUS = OBSERVABILITY / "prometheus.yml"
ALERTS = OBSERVABILITY / "alerts.yml"
ALERTS_TEST = OBSERVABILITY / "alerts_test.yml"
GRAFANA = OBSERVABILITY / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))

PROMETHEUS_HAS = {"up", "ALERTS"}
NO_METRIC = re.compile(
    r"\[[^]]*\]"  # ranges
    r"|\{[^}]*\}"  # matchers
    r"|\b(?:by|on|without|ignoring|group_left|group_right) *\([^)]*\)"  # labels
    r"|\b\w+ *(?=\(|by\b|without\b)"  # functions
    r"|\b(?:and|or|unless|bool|offset *\w+)\b"
    r"|\b[0-9][\w.]*"
)
NAME = re.compile(r"[A-Za-z_:][\w:]*")


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in a PromQL expression."""
    without_strings = re.sub(r'"[^"]*"', "", expression)  # first, as a string may hold any bracket
    return set(NAME.findall(NO_METRIC.sub(" ", without_strings)))


def exposed() -> set[str]:
    """The names under which Prometheus stores what the service exposes, also where nothing was counted yet."""
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    families = Metrics().registry.collect()
    return {family.name + suffix for family in families for suffix in suffixes[family.type]}


def rules() -> dict[str, str]:
    """Alerts and their expressions."""
    found = {}
    for rule in re.split(r"^      - alert: ", ALERTS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        expression = re.search(r"^        expr: (?:\|\n)?(.*?)^        \w+:", rule, re.MULTILINE | re.DOTALL)
        assert expression is not None
        found[rule.splitlines()[0]] = expression[1]
    return found


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", {"up"}),
        ('sum by (job, le) (rate(a_total{b="c (d)", e!~"f|{g}"}[5m])) / on (h) i_sum > 0.01', {"a_total", "i_sum"}),
        ("histogram_quantile(0.99, sum(rate(x_bucket[$__rate_interval]))) or y unless y offset 15m", {"x_bucket", "y"}),
    ],
)
def test_the_metrics_of_an_expression_are_found(expression: str, names: set[str]) -> None:
    assert metrics_in(expression) == names


def test_the_metrics_of_the_service_are_found() -> None:
    assert {"pricecast_requests_total", "pricecast_request_seconds_bucket", "pricecast_model_info"} <= exposed()


def test_prometheus_accepts_its_configuration() -> None:
    promtool("check", "config", PROMETHEUS)


def test_prometheus_accepts_the_alerts() -> None:
    promtool("check", "rules", ALERTS)


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", ALERTS_TEST)


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = re.findall(
        r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:( \[\])?$", ALERTS_TEST.read_text("utf-8"), re.MULTILINE
    )
    assert {name for name, nothing in cases if nothing} == rules().keys()
    assert {name for name, nothing in cases if not nothing} == rules().keys()


@pytest.mark.parametrize(("alert", "expression"), rules().items())
def test_each_metric_of_an_alert_exists(alert: str, expression: str) -> None:
    names = metrics_in(expression)
    assert names
    assert names <= exposed() | PROMETHEUS_HAS, alert


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(request.param.read_text(encoding="utf-8"))
    return read


def targets(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [target for panel in dashboard["panels"] for target in panel["targets"]]


def test_each_metric_of_a_dashboard_exists_and_each_of_the_service_is_shown(dashboard: dict[str, Any]) -> None:
    names = set().union(*(metrics_in(target["expr"]) for target in targets(dashboard)))
    variables = {re.findall(r"\w+", variable["definition"])[1] for variable in dashboard["templating"]["list"]}
    assert names | variables <= exposed() | PROMETHEUS_HAS

    def families(of: set[str]) -> set[str]:
        return {re.sub(r"_(bucket|sum|count)$", "", name) for name in of}

    assert families(exposed()) <= families(names)


def test_each_panel_asks_a_datasource_that_is_provisioned(dashboard: dict[str, Any]) -> None:
    provisioned = "".join(path.read_text(encoding="utf-8") for path in (GRAFANA / "provisioning/datasources").iterdir())
    known = {(kind, uid) for uid, kind in re.findall(r"^    uid: (\w+).*\n    type: (\w+)$", provisioned, re.MULTILINE)}
    asked = [
        each["datasource"] for each in [*dashboard["panels"], *targets(dashboard), *dashboard["templating"]["list"]]
    ]
    assert {(source["type"], source["uid"]) for source in asked} == known


def test_panels_are_told_apart_ask_something_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in panels}) == len(panels)
    assert all(panel["targets"] for panel in panels)
    assert all(target["expr"].strip() for target in targets(dashboard))
    for panel in panels:
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
    places = sorted((panel["gridPos"]["y"], panel["gridPos"]["x"], panel["gridPos"]["w"]) for panel in panels)
    assert all(x + w <= 24 for _, x, w in places)
    assert all(y != next_y or x + w <= next_x for (y, x, w), (next_y, next_x, _) in pairwise(places))
