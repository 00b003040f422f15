"""What the scorer makes of a batch: scores, decisions, new states, and the reasons of alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.manifest import ReasonGroup


@dataclass(frozen=True, slots=True)
class Contribution:
    """How far a group of features moved the score; more than 0 is towards risk.

    In log-odds, or in what the bundle counts its reasons in.
    """

    group: ReasonGroup
    log_odds: float

    @property
    def shown(self) -> float:
        """How far, as an alert has it: to three digits after the point."""
        return round(self.log_odds, 3)

    @property
    def is_reason(self) -> bool:
        """Whether it speaks for risk, by more than the rounding of another batch would."""
        return self.shown > 0


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of ``n`` events of ``u`` accounts.

    Args:
        scores: calibrated probabilities; float32 ``[n]``.
        decisions: places among the bundle's decisions; int64 ``[n]``.
        duplicate: whether the account has seen the event's id before; bool ``[n]``.
        late: whether the event is far older than its account's last; bool ``[n]``.
        failed: whether the graph gave a score or a state that is no finite number, so that the
            event has no score and has left its account's state as it was; bool ``[n]``.
        states: the accounts' new states; record array ``[u]``.
        reasons: for each event that is not approved and no duplicate, its place to the
            contributions, strongest first.
        kept: what shared entities need of the columns that the model made of each event
            (:func:`engine.shared.kept_features`); float32 ``[n, k]``.
        features: all these columns, where they were asked for; float32 ``[n, f]``.
        outputs: what the graph gives beside the score, where it does; float32 ``[n, k]``.
    """

    scores: NDArray[np.float32]
    decisions: NDArray[np.int64]
    duplicate: NDArray[np.bool_]
    late: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    states: NDArray[Any]
    reasons: Mapping[int, Sequence[Contribution]]
    kept: NDArray[np.float32]
    features: NDArray[np.float32] | None = None
    outputs: NDArray[np.float32] | None = None

    @staticmethod
    def concatenate(parts: Sequence[Scored]) -> Scored:
        """Return one or more parts, one after the other, with the states of the last."""
        starts = np.cumsum([0, *(len(each.scores) for each in parts)]).tolist()
        reasons = {
            start + place: found
            for start, each in zip(starts, parts, strict=False)
            for place, found in each.reasons.items()
        }
        features = [each.features for each in parts if each.features is not None]
        outputs = [each.outputs for each in parts if each.outputs is not None]
        return Scored(
            scores=np.concatenate([each.scores for each in parts]),
            decisions=np.concatenate([each.decisions for each in parts]),
            duplicate=np.concatenate([each.duplicate for each in parts]),
            late=np.concatenate([each.late for each in parts]),
            failed=np.concatenate([each.failed for each in parts]),
            states=parts[-1].states,
            reasons=reasons,
            kept=np.concatenate([each.kept for each in parts]),
            features=np.concatenate(features) if features else None,
            outputs=np.concatenate(outputs) if outputs else None,
        )
