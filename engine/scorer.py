"""Scoring a batch: waves through the graph, decisions, and the reasons of alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.columns import Columns
from engine.decisions import DECISIONS, Decider, Decision
from engine.device import Choice, Device, choose, count_gpus
from engine.errors import BundleError
from engine.fit import check_graphs
from engine.graph import Graph
from engine.knowledge import check_fields
from engine.manifest import Thresholds
from engine.runtime import ort
from engine.scored import Contribution, Scored
from engine.shared import kept_columns, kept_features
from engine.waves import waves

#: So many events are explained at once, at most: each takes ten times the memory of a score.
_EXPLAINED = 64

#: What became of some events: the arrays of :class:`Scored` by their names.
_Part = dict[str, Any]

__all__ = ["DECISIONS", "Decision", "Scorer"]


class Scorer:
    """The graphs of a bundle, ready to score.

    Args:
        bundle: the model.
        device: where it runs.
        threads: how many CPU threads one run of the graph may use.
        thresholds: instead of the bundle's.
        parameters: instead of the bundle's, by name.
        limits: of the bundle's rules, instead of their own, by the rules' names.

    Raises:
        BundleError: the graphs cannot be loaded or do not fit the manifest.
        ConfigError: a parameter or a rule that is named is none of the bundle's, or a parameter
            is out of its bounds.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device = Device.AUTO,
        threads: int = 1,
        thresholds: Thresholds | None = None,
        parameters: Mapping[str, float] | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.bundle = bundle
        self.manifest = manifest = bundle.manifest.in_use(parameters or {}, limits or {})
        self.layout = bundle.manifest.state
        self.thresholds = thresholds or bundle.manifest.thresholds
        self.decider = Decider(
            self.thresholds, manifest.rules, manifest.outputs, manifest.decisions
        )
        self._parameters = {
            name: np.float32(value) for name, value in manifest.parameter_inputs.items()
        }
        choice = choose(device, ort.get_available_providers(), count_gpus())
        self._model = Graph(bundle.model, choice, threads)
        self._reasons = Graph(bundle.reasons, choice, threads, _EXPLAINED)
        self.device_line = _device_line(choice, self._model)
        self._kept = kept_features(self.manifest.shared)
        check_fields(self.manifest.schema, self.manifest.shared)
        check_graphs(self.manifest, self._model, self._reasons)

    @property
    def provider(self) -> str:
        """See :attr:`engine.graph.Graph.provider`, of the scoring graph."""
        return self._model.provider

    def score(
        self,
        columns: Columns,
        states: NDArray[Any],
        account_index: NDArray[np.int64],
        shared: Mapping[str, NDArray[np.float32]] | None = None,
        with_features: bool = False,
    ) -> Scored:
        """Score a batch.

        Args:
            columns: ``n`` events.
            states: the states of the batch's accounts before it; record array ``[u]``, which
                stays as it is.
            account_index: each event's place in ``states``; int64 ``[n]``, numbered by the
                accounts' first events (:func:`engine.waves.index_accounts`).
            shared: the closed buckets of each event's shared entities: the graph's input to
                float32 ``[n, buckets, quantities]``.
            with_features: whether :attr:`Scored.features` are wanted.

        Raises:
            ValueError: the states are not those of the events' accounts, in the order of these.
        """
        if with_features:
            self._check_has_features()
        n, alerts, found = len(columns), _Alerts(), waves(account_index)
        _check_states(states, found)
        inputs = {**columns.values, **(shared or {})}
        inputs |= {name: np.full(n, value) for name, value in self._parameters.items()}
        if not found:
            values, after = self._nothing(with_features), states
        elif len(found) == 1:
            values, after = self._score_wave(inputs, found[0], states, alerts, with_features)
        else:
            values, after = self._score_waves(
                inputs, found, account_index, states, alerts, with_features
            )
        return Scored(**values, states=after, reasons=self._explain(alerts))

    def _score_waves(
        self,
        inputs: Mapping[str, NDArray[Any]],
        found: Sequence[NDArray[np.int64]],
        account_index: NDArray[np.int64],
        states: NDArray[Any],
        alerts: _Alerts,
        with_features: bool,
    ) -> tuple[_Part, NDArray[Any]]:
        """Score wave after wave, of which the first has every account, in the states' order."""
        order = np.concatenate(found)
        ordered = {name: values[order] for name, values in inputs.items()}
        feeds = [
            {name: values[start:end] for name, values in ordered.items()}
            for start, end in pairwise(accumulate(map(len, found), initial=0))
        ]
        first, after = self._score_wave(feeds[0], found[0], states, alerts, with_features)
        parts = [first]
        for each, wave in zip(feeds[1:], found[1:], strict=True):
            own = account_index[wave]
            part, after[own] = self._score_wave(each, wave, after[own], alerts, with_features)
            parts.append(part)
        return _in_place(order, parts), after

    def _score_wave(
        self,
        feeds: Mapping[str, NDArray[Any]],
        wave: NDArray[np.int64],
        states: NDArray[Any],
        alerts: _Alerts,
        with_features: bool,
    ) -> tuple[_Part, NDArray[Any]]:
        """Score events of different accounts, and return these accounts' new states too."""
        own = {f"state_{each}": np.ascontiguousarray(states[each]) for each in self.layout.sizes}
        feeds = {**feeds, **own}
        result = self._model.run(feeds)
        scores, duplicate, outputs = result["score"], result["duplicate"], result.get("outputs")
        failed, level = ~_is_finite(result), self.decide(scores, outputs)
        if np.count_nonzero(level):
            alerts.keep(wave, (level > 0) & ~duplicate & ~failed, feeds)
        new = np.empty_like(states)
        for dtype in self.layout.sizes:
            new[dtype] = result[f"new_state_{dtype}"]
        if np.count_nonzero(failed):
            new[failed] = states[failed]
        part = {
            "scores": scores,
            "decisions": level,
            "duplicate": duplicate,
            "late": result["late"],
            "failed": failed,
            "kept": result["kept"] if self._kept else np.empty((len(scores), 0), dtype=np.float32),
            "features": self._reasons.run(feeds)["features"] if with_features else None,
            "outputs": outputs if self.manifest.outputs else None,
        }
        return part, new

    def with_kept(self, columns: Columns, scored: Scored) -> Columns:
        """Return scored events with their kept features, which shared entities need of them."""
        if not self._kept:
            return columns
        kept = kept_columns(self._kept, scored.kept)
        return replace(columns, values={**columns.values, **kept})

    def decide(
        self, scores: NDArray[np.float32], outputs: NDArray[np.float32] | None = None
    ) -> NDArray[np.int64]:
        """Return each event's decision: see :meth:`engine.decisions.Decider.decide`."""
        return self.decider.decide(scores, outputs)

    def _nothing(self, with_features: bool) -> _Part:
        """Return what becomes of no events."""
        outputs, features = len(self.manifest.outputs), len(self.manifest.features)
        return {
            "scores": np.empty(0, dtype=np.float32),
            "decisions": np.empty(0, dtype=np.int64),
            **{each: np.empty(0, dtype=np.bool_) for each in ("duplicate", "late", "failed")},
            "kept": np.empty((0, len(self._kept)), dtype=np.float32),
            "features": np.empty((0, features), dtype=np.float32) if with_features else None,
            "outputs": np.empty((0, outputs), dtype=np.float32) if outputs else None,
        }

    def _check_has_features(self) -> None:
        if not self.manifest.features or "features" not in self._reasons.outputs:
            raise BundleError(
                "a bundle must say its features to have them shown, however: "
                f"{self.manifest.name} says none; export it again"
            )

    def _explain(self, alerts: _Alerts) -> Mapping[int, Sequence[Contribution]]:
        if not alerts.places:
            return {}
        contributions = self._reasons.run(alerts.feeds())["contributions"]
        groups = self.manifest.reasons
        reasons = {}
        for place, row in zip(alerts.places, contributions.astype(float), strict=True):
            strongest = np.argsort(-row, kind="stable")
            reasons[place] = [Contribution(groups[at], row[at].item()) for at in strongest]
        return reasons


def _check_states(states: NDArray[Any], found: Sequence[NDArray[np.int64]]) -> None:
    accounts = len(found[0]) if found else 0
    if len(states) != accounts:
        raise ValueError(
            f"a batch must have a state for each of the {accounts} accounts, however: {len(states)}"
        )


def _in_place(order: NDArray[np.int64], parts: Sequence[_Part]) -> _Part:
    """Return what became of the events by their places, from what became of each wave's.

    Args:
        order: the places of all waves' events, one after the other.
        parts: of each wave.
    """
    values: _Part = {}
    for name, first in parts[0].items():
        if first is None:
            values[name] = None
            continue
        ordered = np.concatenate([part[name] for part in parts])
        values[name] = np.empty_like(ordered)
        values[name][order] = ordered
    return values


def _is_finite(result: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return for each event whether its score and its new state are finite numbers."""
    finite: NDArray[np.bool_] = np.isfinite(result["score"])
    for name in ("outputs", "new_state_float32"):
        if name in result:
            each = np.isfinite(result[name])
            if np.count_nonzero(each) < each.size:
                finite &= each.all(axis=1)
    return finite


def _device_line(choice: Choice, model: Graph) -> str:
    if model.is_refused:
        return "scoring on the CPU: the GPU cannot be used"
    if not choice.by_size:
        return choice.line
    if model.gpu_from is None:
        return f"{choice.line}, had it been faster: the CPU is, for every size of batch"
    return f"{choice.line} from {model.gpu_from:,} events at once on, fewer on the CPU"


class _Alerts:
    """The graph inputs of the events to explain, as they were when the events were scored."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self._kept: list[dict[str, NDArray[Any]]] = []

    def keep(
        self,
        wave: NDArray[np.int64],
        alerted: NDArray[np.bool_],
        feeds: Mapping[str, NDArray[Any]],
    ) -> None:
        if np.count_nonzero(alerted):
            self.places += wave[alerted].tolist()
            self._kept.append({name: value[alerted] for name, value in feeds.items()})

    def feeds(self) -> dict[str, NDArray[Any]]:
        return {name: np.concatenate([each[name] for each in self._kept]) for name in self._kept[0]}
