from __future__ import annotations

import numpy as np
import pytest

from engine.decisions import Decider, Rule, Thresholds, limited
from engine.errors import BundleError, ConfigError

THRESHOLDS = Thresholds(review=0.2, decline=0.7)
NAMES = ("calm", "volatile", "breach")
RULES = (
    Rule("volatility", "volatility", 0.5, "volatile", "It is volatile."),
    Rule("breach", "shortfall", 0.01, "breach", "It lost more."),
    Rule("score", "score", 0.9, "volatile", "The score is high."),
)


def decider(*rules: Rule) -> Decider:
    return Decider(THRESHOLDS, rules, ("volatility", "shortfall"), NAMES)


def test_without_rules_the_thresholds_of_the_score_decide() -> None:
    scores = np.array([0.1, 0.2, 0.69, 0.7], dtype=np.float32)
    assert Decider(THRESHOLDS).decide(scores, None).tolist() == [0, 1, 1, 2]


def test_with_rules_the_gravest_that_holds_decides() -> None:
    scores = np.array([0.99, 0.0, 0.0, 0.99], dtype=np.float32)
    outputs = np.array([[0.1, 0.0], [0.5, 0.0], [0.9, 0.02], [0.0, 0.005]], dtype=np.float32)
    assert decider(*RULES).decide(scores, outputs).tolist() == [1, 1, 2, 1]


def test_the_rules_that_hold_are_told_with_what_they_read() -> None:
    scores = np.array([0.5, 0.95], dtype=np.float32)
    outputs = np.array([[0.9, 0.02], [0.1, 0.0]], dtype=np.float32)
    found = decider(*RULES)
    assert [(rule.name, round(value, 6)) for rule, value in found.fired(scores, outputs, 0)] == [
        ("volatility", 0.9),
        ("breach", 0.02),
    ]
    assert [rule.name for rule, _ in found.fired(scores, outputs, 1)] == ["score"]


@pytest.mark.parametrize(
    "rule",
    [Rule("a", "nothing", 1.0, "breach", "."), Rule("a", "shortfall", 1.0, "calm", ".")],
    ids=["an output that is not there", "a decision that is none"],
)
def test_a_rule_that_cannot_hold_is_refused(rule: Rule) -> None:
    with pytest.raises(BundleError, match="a rule must read the score or one of volatility"):
        decider(rule)


def test_a_limit_replaces_that_of_its_rule_and_of_no_other() -> None:
    found = limited(RULES, {"breach": 0.5})
    assert [each.limit for each in found] == [0.5, 0.5, 0.9]
    with pytest.raises(ConfigError, match=r"rule of the bundle, however: \['breech'\]"):
        limited(RULES, {"breech": 0.5})
