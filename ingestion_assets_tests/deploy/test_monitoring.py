"""Dashboard and alert rules ask for metrics and labels that `/metrics` exports."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from uuid_utils.compat import uuid7

from ingestion_assets.frontdoor.metrics import RequestMetrics
from ingestion_assets.installed_flows import all_flows
from ingestion_assets.landing.drops import Receipt
from ingestion_assets.landing.ledger import LedgerStatistics
from ingestion_assets.stores.disk import Disk
from ingestion_assets_tests.deploy.processes import DEPLOY

# What Prometheus itself adds to whatever it scrapes.
SCRAPED = {"up": set[str]()}
SCRAPE_LABELS = {"job", "instance"}
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana" / "ingestion.json").read_text(encoding="utf-8"))
EXPRESSIONS = [
    *((rule["alert"], rule["expr"]) for rule in RULES),
    *((panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]),
]


@lru_cache
def exported() -> dict[str, set[str]]:
    """Labels by name of every series that a front door exports once something of each kind has happened."""
    now = datetime.now(UTC)
    metrics = RequestMetrics({})
    metrics.count("POST", "/api/v1/ingest/batch", 200, 0.1)
    metrics.count_accepted("conversations")
    done = Receipt(
        id=uuid7(), state="done", flow="conversations", partition="2026-01-31", lane="", subject=None, principal="key",
        records=1, size_bytes=1, attempts=1, received_at=now, claimed_at=now, finished_at=now, run_id=None, result=None,
        errors=None,
    )  # fmt: skip
    metrics.count_outcomes([done])
    metrics.show_ledger(
        LedgerStatistics(
            unfinished={("conversations", "landed"): 1}, finished_last_hour={("conversations", "done"): 1},
            open_rejects={("conversations", "message"): 1}, waiting_s={"conversations": 1.0},
            expected_wait_s={"conversations": 1.0},
        ),
        flows=all_flows(), without_worker={},
    )  # fmt: skip
    metrics.show_dependencies({"postgresql": True})
    metrics.show_clock(0.0)
    metrics.show_disk(Disk(free_bytes=2, bytes_a_day=1.0))
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from _nodes(inner)
    for inner in getattr(node, "args", ()):
        yield from _nodes(inner)


def _parsed(expression: str) -> list[Any]:
    return list(_nodes(promql_parser.parse(expression.replace("$__rate_interval", "5m"))))


@pytest.mark.parametrize(
    ("name", "expression"), EXPRESSIONS, ids=[f"{number}" for number in range(len(EXPRESSIONS))]
)
def test_what_is_asked_for_is_exported(name: str, expression: str) -> None:
    nodes = _parsed(expression)
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    assert selectors, name
    labels = SCRAPE_LABELS.copy()
    known = exported() | SCRAPED
    for selector in selectors:
        assert selector.name in known, name
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= known[selector.name] | SCRAPE_LABELS, name
        labels |= known[selector.name]
    for node in nodes:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= labels, name


@pytest.mark.parametrize(
    ("name", "expression"), EXPRESSIONS, ids=[f"{number}" for number in range(len(EXPRESSIONS))]
)
def test_what_every_front_door_tells_alike_is_not_added_up(name: str, expression: str) -> None:
    """The ledger's figures and the outcomes are the same at each: a sum over them would count them twice."""
    alike = re.compile(r"ingestion_(drops|queue_depth|oldest_\w+|rejects|messages_total)$")
    for node in _parsed(expression):
        if isinstance(node, promql_parser.AggregateExpr) and str(node.op) == "sum":
            inner = list(_nodes(node.expr))
            told = [
                one
                for one in inner
                if isinstance(one, promql_parser.VectorSelector) and alike.match(one.name or "")
            ]
            largest = any(
                isinstance(one, promql_parser.AggregateExpr) and str(one.op) == "max" for one in inner
            )
            each = node.modifier is not None and "instance" in node.modifier.labels
            assert not told or largest or each, name


def test_alerts_have_the_shape_of_rules() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"].keys() - {"description"} == {"summary"}


def test_panels_do_not_lie_on_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
