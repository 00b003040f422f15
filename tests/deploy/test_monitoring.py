"""Prometheus' and Grafana's files: only metrics that exist, and a dashboard without overlaps."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from engine.columns import Reason
from engine.scorer import Decision
from streams.configuration import load_settings
from streams.metrics import Metrics
from tests.deploy.files import ROOT, compose, read_yaml

_SUFFIXES = {
    "counter": ["_total"],
    "gauge": [""],
    "histogram": ["_bucket", "_sum", "_count"],
    "info": ["_info"],
}
_WIDTH = 24
DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy/grafana/dashboards/riskstream.json").read_text(encoding="utf-8")
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
RULES: list[dict[str, Any]] = [
    rule for group in read_yaml("deploy/prometheus/alerts.yml")["groups"] for rule in group["rules"]
]


def _metric_names() -> set[str]:
    families = list(Metrics().registry.collect())
    return {f"{family.name}{suffix}" for family in families for suffix in _SUFFIXES[family.type]}


def _queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    for panel in PANELS:
        yield from (target["expr"] for target in panel.get("targets", []))


QUERIES = list(_queries())


@pytest.mark.parametrize("query", QUERIES)
def test_metrics_exist(query: str) -> None:
    names = set(re.findall(r"\briskstream_\w+", query))
    assert names <= _metric_names()
    assert names or "up{" in query


@pytest.mark.parametrize("query", QUERIES)
def test_queries_are_promql(query: str) -> None:
    promql_parser = pytest.importorskip("promql_parser", reason="it knows PromQL's grammar")
    filled = query.replace("$__rate_interval", "1m").replace("$__range", "1h")
    promql_parser.parse(filled)


def test_decisions_exist() -> None:
    named = {name for query in QUERIES for name in re.findall(r'decision!?="(\w+)"', query)}
    coloured = {
        override["matcher"]["options"]
        for panel in PANELS
        if panel["title"] == "Scores by decision"
        for override in panel["fieldConfig"]["overrides"]
    }
    assert named == {"approve"}
    assert coloured == set(Decision)


def test_reasons_exist() -> None:
    named = {
        name
        for query in QUERIES
        for names in re.findall(r'reason[=!]~?"([\w|]+)"', query)
        for name in names.split("|")
    }
    assert named == {"unknown_event", "before_event", "outdated"}
    assert named <= set(Reason)


def test_every_metric_is_on_the_dashboard() -> None:
    text = " ".join(QUERIES)
    unseen = {family.name for family in Metrics().registry.collect() if family.name not in text}
    assert unseen == {"riskstream_position"}


def test_alerts_are_complete() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+m", rule["for"])


def test_prometheus_finds_every_worker() -> None:
    config = read_yaml("deploy/prometheus/prometheus.yml")
    (job,) = config["scrape_configs"]
    (lookup,) = job["dns_sd_configs"]
    assert lookup["names"] == ["worker"]
    assert "worker" in compose()["services"]
    assert lookup["type"] == "A"
    assert lookup["port"] == load_settings(ROOT / "config/production.toml").worker.web_port
    assert all(f'job="{job["job_name"]}"' in q for q in QUERIES if "up{" in q)
    assert all((ROOT / "deploy/prometheus" / name).exists() for name in config["rule_files"])


def test_panels_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)


def test_panels_say_what_they_show() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"]
        letters = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(letters)) == len(letters)


def test_panels_fit_the_grid_and_do_not_overlap() -> None:
    cells = []
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= _WIDTH
        rows, columns = range(at["y"], at["y"] + at["h"]), range(at["x"], at["x"] + at["w"])
        cells += itertools.product(rows, columns)
    assert len(set(cells)) == len(cells)


def test_panels_read_the_provisioned_datasource() -> None:
    (source,) = read_yaml("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    used = {panel["datasource"]["uid"] for panel in PANELS if "datasource" in panel}
    used |= {t["datasource"]["uid"] for panel in PANELS for t in panel.get("targets", [])}
    assert used == {source["uid"]}


def test_grafana_finds_the_dashboard() -> None:
    (provider,) = read_yaml("deploy/grafana/provisioning/dashboards/riskstream.yml")["providers"]
    service = compose()["services"]["grafana"]
    path = provider["options"]["path"]
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert f"./deploy/grafana/dashboards:{path}:ro" in service["volumes"]
    assert home == f"{path}/riskstream.json"
