"""Alert rules and dashboard are valid, use existing metrics, and the alerts fire when they should."""

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.observability.metrics import Metrics
from tests.conftest import ROOT
from tests.external_tools import require_tool

OBSERVABILITY = ROOT / "observability"
PROMETHEUS = OBSERVABILITY / "prometheus.yml"
ALERTS = OBSERVABILITY / "alerts.yml"
ALERTS_TEST = OBSERVABILITY / "alerts_test.yml"
GRAFANA = OBSERVABILITY / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))

BUILTIN_METRICS = {"up", "ALERTS"}
NOT_A_METRIC = re.compile(
    r"\[[^]]*\]"  # ranges
    r"|\{[^}]*\}"  # matchers
    r"|\b(?:by|on|without|ignoring|group_left|group_right) *\([^)]*\)"  # labels
    r"|\b\w+ *(?=\(|by\b|without\b)"  # functions
    r"|\b(?:and|or|unless|bool|offset *\w+)\b"
    r"|\b[0-9][\w.]*"
)
NAME = re.compile(r"[A-Za-z_:][\w:]*")


def metrics_in(expression: str) -> set[str]:
    """Return the metric names in a PromQL expression."""
    without_strings = re.sub(r'"[^"]*"', "", expression)  # first, because a string may contain brackets
    return set(NAME.findall(NOT_A_METRIC.sub(" ", without_strings)))


def exposed_metrics() -> set[str]:
    """Return the names under which Prometheus stores the metrics of the service, including those without samples."""
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    families = Metrics().registry.collect()
    return {family.name + suffix for family in families for suffix in suffixes[family.type]}


def alert_expressions() -> dict[str, str]:
    """Return the expression of each alert."""
    found = {}
    for rule in re.split(r"^      - alert: ", ALERTS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        expression = re.search(r"^        expr: (?:\|\n)?(.*?)^        \w+:", rule, re.MULTILINE | re.DOTALL)
        assert expression is not None
        found[rule.splitlines()[0]] = expression[1]
    return found


def promtool(*arguments: str | Path) -> None:
    result = subprocess.run([require_tool("promtool"), *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", {"up"}),
        ('sum by (job, le) (rate(a_total{b="c (d)", e!~"f|{g}"}[5m])) / on (h) i_sum > 0.01', {"a_total", "i_sum"}),
        ("histogram_quantile(0.99, sum(rate(x_bucket[$__rate_interval]))) or y unless y offset 15m", {"x_bucket", "y"}),
    ],
)
def test_metrics_in_finds_metric_names(expression: str, names: set[str]) -> None:
    assert metrics_in(expression) == names


def test_exposed_metrics_have_prometheus_suffixes() -> None:
    assert {"pricecast_requests_total", "pricecast_request_seconds_bucket", "pricecast_model_info"} <= exposed_metrics()


def test_promtool_accepts_the_configuration() -> None:
    promtool("check", "config", PROMETHEUS)


def test_promtool_accepts_the_alerts() -> None:
    promtool("check", "rules", ALERTS)


def test_promtool_passes_the_alert_tests() -> None:
    promtool("test", "rules", ALERTS_TEST)


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    cases = re.findall(
        r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:( \[\])?$", ALERTS_TEST.read_text("utf-8"), re.MULTILINE
    )
    assert {name for name, is_silent in cases if is_silent} == alert_expressions().keys()
    assert {name for name, is_silent in cases if not is_silent} == alert_expressions().keys()


@pytest.mark.parametrize(("alert", "expression"), alert_expressions().items())
def test_alert_uses_existing_metrics(alert: str, expression: str) -> None:
    names = metrics_in(expression)
    assert names
    assert names <= exposed_metrics() | BUILTIN_METRICS, alert


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(request.param.read_text(encoding="utf-8"))
    return content


def targets(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [target for panel in dashboard["panels"] for target in panel["targets"]]


def test_dashboard_shows_every_metric_and_no_unknown_one(dashboard: dict[str, Any]) -> None:
    names = set().union(*(metrics_in(target["expr"]) for target in targets(dashboard)))
    variables = {re.findall(r"\w+", variable["definition"])[1] for variable in dashboard["templating"]["list"]}
    assert names | variables <= exposed_metrics() | BUILTIN_METRICS

    def families(metrics: set[str]) -> set[str]:
        return {re.sub(r"_(bucket|sum|count)$", "", name) for name in metrics}

    assert families(exposed_metrics()) <= families(names)


def test_panels_use_the_provisioned_datasource(dashboard: dict[str, Any]) -> None:
    provisioned = "".join(path.read_text(encoding="utf-8") for path in (GRAFANA / "provisioning/datasources").iterdir())
    known = {(kind, uid) for uid, kind in re.findall(r"^    uid: (\w+).*\n    type: (\w+)$", provisioned, re.MULTILINE)}
    used = [
        each["datasource"] for each in [*dashboard["panels"], *targets(dashboard), *dashboard["templating"]["list"]]
    ]
    assert {(source["type"], source["uid"]) for source in used} == known


def test_panels_are_distinct_have_queries_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
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
