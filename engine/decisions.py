"""What to do with an event: its decision, and the rules that made it.

A bundle decides by two thresholds of its score, or by rules on the values that its graph gives:
an expected loss, a volatility, a loss beyond a forecast. Each rule leads to one of the bundle's
decisions; an event gets the gravest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import BundleError, ConfigError

#: The value that a rule may read beside a bundle's outputs.
SCORE = "score"

#: How many decisions there are: nothing to do, look at it, act.
LEVELS = 3


class Decision(StrEnum):
    """What to do with an event, in the order of rising risk, unless a bundle says otherwise."""

    APPROVE = "approve"
    REVIEW = "review"
    DECLINE = "decline"


DECISIONS = tuple(Decision)
DECISION_NAMES = tuple(str(each) for each in DECISIONS)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which score on an event is reviewed, and from which it is declined.

    Both are probabilities; ``review <= decline``.
    """

    review: float
    decline: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.review <= self.decline <= 1.0:
            raise BundleError(
                "the thresholds must satisfy 0 <= review <= decline <= 1, however: "
                f"review={self.review}, decline={self.decline}"
            )


@dataclass(frozen=True, slots=True)
class Rule:
    """An event whose ``output`` is at least ``limit`` gets the decision.

    Args:
        name: short and stable; the configuration's ``[limits]`` calls it so.
        output: one of the bundle's outputs, or :data:`SCORE`.
        limit: see above; in the unit of the output.
        decision: one of the bundle's decisions, but for the first.
        text: a sentence for who reads the alert.
    """

    name: str
    output: str
    limit: float
    decision: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read it from a manifest or from TOML. Raises :class:`BundleError`."""
        names = [each.name for each in fields(cls)]
        if set(raw) != set(names):
            raise BundleError(f"a rule must have {', '.join(names)}, however: {dict(raw)}")
        texts = {name: str(raw[name]) for name in names if name != "limit"}
        return cls(limit=float(raw["limit"]), **texts)


class Decider:
    """Decides by thresholds, or by rules where there are any.

    Args:
        thresholds: of the score.
        rules: instead of them.
        outputs: the names of the graph's outputs, which rules read.
        decisions: the names of the decisions, in the order of rising risk.

    Raises:
        BundleError: a rule reads what is not there, or leads to no decision.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        rules: Sequence[Rule] = (),
        outputs: Sequence[str] = (),
        decisions: Sequence[str] = DECISION_NAMES,
    ) -> None:
        self.thresholds, self.rules = thresholds, tuple(rules)
        self._steps = np.array([thresholds.review, thresholds.decline], dtype=np.float32)
        self._columns: list[int | None] = []
        self._levels: list[int] = []
        for rule in self.rules:
            if rule.output not in (SCORE, *outputs) or rule.decision not in decisions[1:]:
                raise BundleError(
                    f"a rule must read the score or one of {', '.join(outputs) or 'no outputs'} "
                    f"and lead to one of {', '.join(decisions[1:])}, however: {rule.name} reads "
                    f"{rule.output!r} and leads to {rule.decision!r}"
                )
            self._columns.append(None if rule.output == SCORE else list(outputs).index(rule.output))
            self._levels.append(list(decisions).index(rule.decision))

    def decide(
        self, scores: NDArray[np.float32], outputs: NDArray[np.float32] | None
    ) -> NDArray[np.int64]:
        """Return each event's decision, as its place among the decisions; int64 ``[n]``.

        Args:
            scores: float32 ``[n]``.
            outputs: float32 ``[n, k]``; None for a bundle without.
        """
        if not self.rules:
            return self._steps.searchsorted(scores, side="right")
        level = np.zeros(len(scores), dtype=np.int64)
        for rule, column, grave in zip(self.rules, self._columns, self._levels, strict=True):
            fired = self._values(scores, outputs, column) >= np.float32(rule.limit)
            level = np.maximum(level, np.where(fired, grave, 0))
        return level

    def fired(
        self, scores: NDArray[np.float32], outputs: NDArray[np.float32] | None, place: int
    ) -> list[tuple[Rule, float]]:
        """Return the rules that hold of one event, each with the value it read."""
        values = [float(self._values(scores, outputs, each)[place]) for each in self._columns]
        return [
            (rule, value)
            for rule, value in zip(self.rules, values, strict=True)
            if value >= np.float32(rule.limit)
        ]

    @staticmethod
    def _values(
        scores: NDArray[np.float32], outputs: NDArray[np.float32] | None, column: int | None
    ) -> NDArray[np.float32]:
        return scores if column is None or outputs is None else outputs[:, column]


def limited(rules: Sequence[Rule], limits: Mapping[str, float]) -> tuple[Rule, ...]:
    """Return rules with other limits, by the rules' names.

    Raises:
        ConfigError: there is no rule of such a name.
    """
    check_names("a limit", "rule", limits, [each.name for each in rules])
    return tuple(replace(each, limit=limits.get(each.name, each.limit)) for each in rules)


def check_names(what: str, kind: str, given: Mapping[str, float], known: Sequence[str]) -> None:
    """Raise :class:`ConfigError` where a configured value names what the bundle does not have."""
    strange = sorted(set(given) - set(known))
    if strange:
        raise ConfigError(
            f"{what} must name a {kind} of the bundle, however: {strange}; "
            f"it has {', '.join(known) or 'none'}"
        )
