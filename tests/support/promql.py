"""Queries of dashboards and rules, held against a real scrape: what they select is there, and has the labels they use.

No evaluator: it follows which labels a query's result has, from its selectors up. Values, and whether the two sides of
an operation meet, are for a real Prometheus to tell.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

FILLED = {"$__rate_interval": "1m", "$__range": "1h", "$__interval": "15s"}
SET_OPERATORS = ("and", "unless")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_OPERATORS = {
    "MatchOp.Equal": lambda value, wanted: value == wanted,
    "MatchOp.NotEqual": lambda value, wanted: value != wanted,
    "MatchOp.Re": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "MatchOp.NotRe": lambda value, wanted: re.fullmatch(wanted, value) is None,
}

Labels = frozenset[str]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What Prometheus has after scraping: by the name of a sample, the labels of its series."""

    series: Mapping[str, list[Mapping[str, str]]]

    def matching(self, name: str, matchers: Iterable[Any]) -> list[Mapping[str, str]]:
        """The series that a selector selects; a label that a series has not is empty."""
        tests = [(one.name, _OPERATORS[str(one.op)], one.value) for one in matchers]
        return [
            labels
            for labels in self.series.get(name, [])
            if all(test(labels.get(label, ""), wanted) for label, test, wanted in tests)
        ]


def scrape_of(pages: Mapping[tuple[str, str], str]) -> Scrape:
    """What Prometheus makes of pages, by the job and the instance they are of; and its own `up`."""
    series: dict[str, list[Mapping[str, str]]] = {}
    for (job, instance), page in pages.items():
        target = {"job": job, "instance": instance}
        series.setdefault("up", []).append(target)
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                assert not sample.labels.keys() & target.keys(), f"Prometheus renames labels of {sample.name}"
                labels = {name: value for name, value in sample.labels.items() if value}
                series.setdefault(sample.name, []).append(labels | target)
    return Scrape(series)


def filled(query: str) -> str:
    """A dashboard's query with its variables filled in: every value, some interval."""
    for variable, value in FILLED.items():
        query = query.replace(variable, value)
    return _VARIABLE.sub(".*", query)


def labels_of(query: str, scrape: Scrape) -> Labels:
    """The labels that the result of a query has.

    Raises:
        AssertionError: It selects nothing, or uses a label that is not there.
    """
    return _labels(promql.parse(query), scrape) or frozenset()


def _labels(node: Any, scrape: Scrape) -> Labels | None:
    """The same of a part of a query; None for a number."""
    match node:
        case promql.VectorSelector():
            found = scrape.matching(node.name, node.matchers.matchers)
            assert found, f"nothing is there for {node.prettify()}"
            return frozenset(label for labels in found for label in labels)
        case promql.MatrixSelector():
            return _labels(node.vector_selector, scrape)
        case promql.Call():
            given = [_labels(argument, scrape) for argument in node.args]
            found = next((labels for labels in given if labels is not None), None)
            return found - {"le"} if node.func.name == "histogram_quantile" and found is not None else found
        case promql.AggregateExpr():
            return _aggregated(node, scrape)
        case promql.BinaryExpr():
            return _combined(node, scrape)
        case promql.ParenExpr() | promql.UnaryExpr():
            return _labels(node.expr, scrape)
        case promql.SubqueryExpr():
            return _labels(node.expr, scrape)
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
    raise AssertionError(f"what is {node!r}?")


def _aggregated(node: Any, scrape: Scrape) -> Labels:
    inner = _labels(node.expr, scrape)
    assert inner is not None
    if node.modifier is None:
        return frozenset()
    named = frozenset(node.modifier.labels)
    assert named <= inner, f"{node.prettify()} goes by {sorted(named - inner)}, which is not there"
    return named if str(node.modifier.type).endswith("By") else inner - named


def _combined(node: Any, scrape: Scrape) -> Labels | None:
    left, right = _labels(node.lhs, scrape), _labels(node.rhs, scrape)
    if left is None or right is None:
        return right if left is None else left
    operator, modifier = str(node.op), node.modifier
    matching = None if modifier is None else modifier.matching
    if matching is not None:
        named = frozenset(matching.labels)
        is_on = str(matching.type).endswith("Include")
        sides = [side & named if is_on else side - named for side in (left, right)]
        assert not is_on or named <= left & right, f"{node.prettify()}: not on both sides"
    else:
        sides = [left, right]
    assert operator == "or" or sides[0] == sides[1], (
        f"{node.prettify()}: {sides[0] ^ sides[1]} on one side only"
    )
    return left | right if operator == "or" else left


def queries_of(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The title, query and legend of everything that a dashboard shows."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
