"""The figures of an evaluation as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.results import FIGURES, Results, mean_and_sd

_BATCHES = ("1", "64", "256")

_HEAD = """# Evaluation on the Fraud Detection Handbook's transactions

```sh
{command}
```

{kind} folds ({days}) by the Handbook's protocol: a fold that starts at S trains on the {back_days}
days before S + 7 days and is judged on the days S + 14 to S + 20, without the cards known to be
compromised by then. A label counts 7 days after its event. Every model has the same {features}
features; the settings of each are in the JSON file beside this page. A figure is the mean of the
folds ± their standard deviation.

{events:,} transactions, {frauds:,} of them frauds. Reading them and making their features took
{feature_seconds:.0f} s, once for all; training and scoring, all models and folds together, took
{seconds:,.0f} s: on {cpus} CPU cores, with {versions}.
"""

_CALIBRATED = """
AUC ROC: area under the receiver operating characteristic. AP: average precision. CP@100: card
precision at 100. ECE: expected calibration error, 15 bins of equal number; the families are
calibrated on the last {calibration_days:g} days of their training, the other models are as they
come. Seconds: of a fold, training and scoring.
"""

_GRAPH = """
## What the graphs cost

The exported graph, features and all: microseconds an event in batches of so many events, ONNX
Runtime, {provider}, one thread; the graph's size, and the state it carries for each account.
"""


def page(results: Results, command: str) -> str:
    """Return the whole page."""
    names = [each for each in results.contenders if results.contenders[each]["folds"]]
    starts = sorted({start for each in names for start in results.contenders[each]["folds"]})
    seconds = sum(sum(_known(results.column(each, "seconds"))) for each in names)
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    told = {
        "command": command,
        "kind": str(results.facts["folds"]).capitalize(),
        "days": ", ".join(starts),
        "back_days": results.facts["back_days"],
        "seconds": seconds,
        "versions": versions,
        "features": len(about["features"]),
    }
    head = _HEAD.format(**{**about, **told})
    blocks = [head, *_means(results, names), _CALIBRATED.format(**about)]
    blocks += [*_graphs(results, names), "\n## Each fold\n", *_folds(results, names)]
    return "\n".join(blocks) + "\n"


def _means(results: Results, names: Sequence[str]) -> Iterator[str]:
    yield _row(["", *FIGURES.values(), "longest fold"])
    yield _row(["---"] * (len(FIGURES) + 2))
    for name in names:
        cells = [_spread(results.column(name, each), each) for each in FIGURES]
        yield _row([name, *cells, f"{max(_known(results.column(name, 'seconds'))):.0f} s"])


def _graphs(results: Results, names: Sequence[str]) -> Iterator[str]:
    graphs = {each: results.contenders[each]["graph"] for each in names}
    graphs = {name: graph for name, graph in graphs.items() if graph}
    if not graphs:
        return
    yield _GRAPH.format(provider=", ".join({each["provider"] for each in graphs.values()}))
    yield _row(["", *(f"batch {each}" for each in _BATCHES), "graph", "state"])
    yield _row(["---"] * (len(_BATCHES) + 3))
    for name, graph in graphs.items():
        times = [f"{graph['us_per_event'][each]:.1f}" for each in _BATCHES]
        kib = [f"{graph[each] / 1024:.1f} KiB" for each in ("bytes", "state_bytes")]
        yield _row([name, *times, *kib])


def _folds(results: Results, names: Sequence[str]) -> Iterator[str]:
    yield _row(["", "fold", "events", "frauds", *FIGURES.values()])
    yield _row(["---"] * (len(FIGURES) + 4))
    for name in names:
        for start, found in sorted(results.contenders[name]["folds"].items()):
            cells = [shown(found[each], each) for each in FIGURES]
            yield _row([name, start, f"{found['events']:,}", f"{found['positives']:,}", *cells])


def shown(value: float | None, figure: str) -> str:
    """Return a figure as tables show it.

    >>> shown(0.76543, "auc_roc"), shown(None, "auc_roc"), shown(61.2, "seconds")
    ('0.7654', '–', '61')
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if figure.endswith("seconds") else f"{value:.4f}"


def _spread(values: Sequence[float | None], figure: str) -> str:
    found = mean_and_sd(values)
    if found is None:
        return "–"
    mean, deviation = (shown(each, figure) for each in found)
    return mean if figure.endswith("seconds") else f"{mean} ± {deviation}"


def _known(values: Sequence[float | None]) -> list[float]:
    return [each for each in values if each is not None]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
