"""The credit pack's committed bundle, through the core alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.columns import Reason
from engine.errors import ConfigError
from engine.manifest import Manifest
from tests.packs.tools import answers, bundle_of, offline_of, score

DATES = ("2005-04-30", "2005-05-31", "2005-06-30", "2005-07-31", "2005-08-31", "2005-09-30")
LIMIT, LOSS, CONVERSION = 100_000.0, 0.75, 0.25


def statement(month: int, client: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "statement_id": f"{client}-{DATES[month][:7]}",
        "time": f"{DATES[month]}T00:00:00Z",
        "client_id": client,
        "limit": LIMIT,
        "status": 0.0,
        "bill": 40_000.0,
        "payment": 2_000.0,
    } | changes


MONTHS = [statement(month, bill=40_000.0 + 5_000 * month) for month in range(6)]


def test_a_client_in_arrears_is_riskier_and_is_told_so() -> None:
    behind = [statement(month, "b", status=2.0, payment=0.0) for month in range(6)]
    batch = score(offline_of("credit"), [*MONTHS, *behind])
    assert batch.scored.scores[11] > 2 * batch.scored.scores[5]
    (strongest, *_) = batch.scored.reasons[11]
    assert strongest.group.name == "arrears"
    assert strongest.group.text == "Payments are behind, or were behind in the last six months."


def test_the_expected_loss_is_probability_times_exposure_times_loss_given_default() -> None:
    batch = score(offline_of("credit"), MONTHS)
    bill = np.array([each["bill"] for each in MONTHS])
    exposure = bill + CONVERSION * (LIMIT - bill)
    found = dict(zip(bundle_of("credit").manifest.outputs, batch.scored.outputs.T, strict=True))
    assert found["exposure"] == pytest.approx(exposure, rel=1e-6)
    expected = batch.scored.scores * exposure * LOSS
    assert found["expected_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("bill", "exposure"), [(-5_000.0, 25_000.0), (0.0, 25_000.0), (130_000.0, 130_000.0)]
)
def test_a_credit_balance_owes_nothing_and_an_overdrawn_limit_leaves_nothing(
    bill: float, exposure: float
) -> None:
    batch = score(offline_of("credit"), [statement(0, bill=bill)])
    assert batch.scored.outputs[0, 0] == pytest.approx(exposure)


def test_parameters_and_limits_of_the_configuration_win_over_those_of_the_bundle() -> None:
    usual = score(offline_of("credit"), MONTHS).scored
    half = score(offline_of("credit", parameters={"loss_given_default": LOSS / 2}), MONTHS).scored
    assert half.outputs[:, 1] == pytest.approx(usual.outputs[:, 1] / 2, rel=1e-6)
    assert half.scores.tolist() == usual.scores.tolist()
    strict = score(offline_of("credit", limits={"review": 0.0, "decline": 1e9}), MONTHS).scored
    assert strict.decisions.tolist() == [1] * 6
    with pytest.raises(ConfigError, match="it has loss_given_default, credit_conversion"):
        offline_of("credit", parameters={"lgd": 0.5})


@pytest.mark.parametrize("value", [45.0, -1.0, float("nan")])
def test_a_parameter_out_of_its_bounds_is_refused(value: float) -> None:
    told = f"parameter loss_given_default must be 0 to 1, however: {value:g}; change it under"
    with pytest.raises(ConfigError, match=told):
        offline_of("credit", parameters={"loss_given_default": value})


def test_bounds_of_parameters_are_kept_in_a_bundle_and_may_be_missing() -> None:
    raw = bundle_of("credit").manifest.to_dict({})
    assert Manifest.from_dict(raw).parameter_bounds == {
        "loss_given_default": (0.0, 1.0),
        "credit_conversion": (0.0, 1.0),
    }
    del raw["parameter_bounds"]
    older = Manifest.from_dict(raw)
    assert older.in_use({"loss_given_default": 45.0}, {}).parameters["loss_given_default"] == 45.0
    with pytest.raises(ConfigError, match="parameter loss_given_default must be finite"):
        older.in_use({"loss_given_default": float("inf")}, {})


def test_a_repeated_statement_has_its_first_answer_and_changes_nothing() -> None:
    once, twice = offline_of("credit"), offline_of("credit")
    expected = answers(score(once, MONTHS))
    batch = score(twice, [*MONTHS[:3], MONTHS[1] | {"bill": 1.0}, *MONTHS[3:]])
    found = answers(batch)
    assert batch.scored.duplicate.tolist() == [False] * 3 + [True] + [False] * 3
    assert found.pop(3) == pytest.approx(expected[1], rel=1e-6)
    assert found == expected
    assert once.state("a") == twice.state("a")


@pytest.mark.parametrize(
    "another",
    [
        statement(1, statement_id="a-2005-05-again", bill=90_000.0, status=3.0),
        statement(3, statement_id="a-2005-07-corrected", bill=90_000.0, status=3.0),
    ],
    ids=["of an earlier month", "of the same month"],
)
def test_a_statement_out_of_order_is_scored_and_changes_nothing(another: dict[str, Any]) -> None:
    expected = answers(score(offline_of("credit"), MONTHS))
    offline = offline_of("credit")
    batch = score(offline, [*MONTHS[:4], another, *MONTHS[4:]])
    found = answers(batch)
    assert batch.scored.late.tolist() == [False] * 4 + [True] + [False] * 2
    assert np.isfinite(found.pop(4)).all()
    assert found == expected
    again = score(offline, [another])
    assert again.scored.duplicate.tolist() == [True]


def test_a_missing_month_is_known_and_the_statement_after_it_is_scored() -> None:
    offline = offline_of("credit", with_features=True)
    batch = score(offline, [MONTHS[0], MONTHS[1], MONTHS[3], MONTHS[4]])
    names = bundle_of("credit").manifest.features
    features = dict(zip(names, batch.scored.features.T, strict=True))
    assert features["months_since"] == pytest.approx([1, 31 / 30.4, 61 / 30.4, 31 / 30.4])
    assert features["statements"].tolist() == [1, 2, 3, 4]
    assert not batch.scored.late.any()
    assert np.isfinite(answers(batch)).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"limit": 0.0}, Reason.BELOW_MINIMUM),
        ({"payment": -1.0}, Reason.BELOW_MINIMUM),
        ({"status": -3.0}, Reason.BELOW_MINIMUM),
        ({"bill": None}, Reason.MISSING_FIELD),
        ({"status": "late"}, Reason.WRONG_TYPE),
    ],
)
def test_a_statement_that_cannot_be_is_refused_with_its_reason(
    changes: dict[str, Any], reason: Reason
) -> None:
    batch = score(offline_of("credit"), [statement(0, **changes)])
    assert [each.reason for each in batch.rejects] == [reason]
