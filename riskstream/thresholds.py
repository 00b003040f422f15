"""``riskstream bundle thresholds``: the same model, with thresholds chosen anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.bundle import Bundle, write_bundle
from engine.errors import ConfigError, HistoryError
from engine.manifest import MODEL_FILE, REASONS_FILE, Manifest, Thresholds
from models.thresholds import BUDGET, COST, ThresholdRule
from riskstream.evaluate import DeclineCostOption, FraudLossOption, ReviewCostOption, costs_of
from riskstream.evaluation import Wanted, judge_history
from riskstream.histories import Period, Scoring
from riskstream.options import (
    ConfigOption,
    FieldOption,
    JsonOption,
    LabelsDelayOption,
    UntilOption,
    make_folder,
    out,
    parse_duration,
    parse_time,
    print_json,
    settings_of,
)
from riskstream.page_view import table_view
from riskstream.training_options import require_training

if TYPE_CHECKING:
    from models.evaluation import Assessment, Judged


def thresholds(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Annotated[Path, typer.Option(help="A .parquet, .csv or .jsonl file with labels.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="The new bundle's folder.")],
    start: Annotated[
        str | None,
        typer.Option("--from", help="Choose on events from this time on; the rest is history."),
    ] = None,
    until: UntilOption = None,
    labels_delay: LabelsDelayOption = "7d",
    by_cost: Annotated[
        bool, typer.Option("--by-cost", help="Choose what would have cost the least.")
    ] = False,
    alerts_per_day: Annotated[
        float, typer.Option(min=0, help="Choose so many alerts a day.")
    ] = 0.0,
    review_share: Annotated[
        float | None, typer.Option(help="Choose so large a share of the events.")
    ] = None,
    decline_precision: Annotated[
        float, typer.Option(help="The least precision of what is declined.")
    ] = ThresholdRule().decline_precision,
    review_cost: ReviewCostOption = None,
    fraud_loss_share: FraudLossOption = None,
    decline_cost: DeclineCostOption = None,
    version: Annotated[
        str | None, typer.Option(help="The new bundle's version, instead of the old one's.")
    ] = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    r"""Choose a bundle's thresholds anew on a history, without training.

    Needs the extra riskstream\[train]. The new bundle has the same graphs and
    another digest. By cost, the thresholds are those that would have cost the
    least; costs that are not given are those of the bundle's training.

    [bold]Examples[/bold]

      riskstream bundle thresholds old --data t.parquet --alerts-per-day 40 -o new

      riskstream bundle thresholds old --data t.parquet --by-cost -o new
    """
    require_training()
    _check_one(by_cost, alerts_per_day, review_share)
    settings = settings_of(config, folder, field)
    bundle = Bundle.load(folder)
    if bundle.manifest.rules:
        raise ConfigError(
            f"thresholds must be of a bundle that decides by its score, however: {folder} decides "
            "by rules; change their limits under [limits] in the configuration"
        )
    if output.resolve() == folder.resolve():
        raise ConfigError(f"--out must be another folder than the bundle's, however: {output}")
    make_folder("--out", output)
    costs = costs_of(
        bundle.manifest.training,
        review_cost=review_cost,
        fraud_loss_share=fraud_loss_share,
        decline_cost=decline_cost,
    )
    wanted = Wanted(
        file=data,
        period=Period(start, until),
        start_ms=parse_time("--from", start) or 0,
        how=Scoring(parse_duration("--labels-delay", labels_delay)),
        costs=costs,
    )
    rule = ThresholdRule(
        by=COST if by_cost else BUDGET,
        review_share=ThresholdRule().review_share if review_share is None else review_share,
        alerts_per_day=alerts_per_day,
        decline_precision=decline_precision,
        costs=costs,
    )
    judged, _ = judge_history(wanted, bundle, settings)
    chosen = _write_chosen(bundle, rule, judged, data, version, output)
    _report(output, judged, wanted, (bundle.manifest.thresholds, chosen), json)


def _write_chosen(
    bundle: Bundle, rule: ThresholdRule, judged: Judged, data: Path, version: str | None, out: Path
) -> Thresholds:
    """Write a bundle with thresholds chosen on these events, and return them."""
    from export.card import write_short_card

    if not len(judged):
        raise HistoryError(
            f"thresholds must be chosen on events with labels, however: {data.name} has none in "
            "the time of --from and --until"
        )
    chosen = rule.choose(judged.scores, judged.fraud, judged.amounts, judged.days)
    manifest = _changed(bundle.manifest, chosen, _facts(rule, judged, data), version)
    write_bundle(out, manifest, {MODEL_FILE: bundle.model, REASONS_FILE: bundle.reasons})
    write_short_card(out, manifest)
    return chosen


def _check_one(by_cost: bool, alerts_per_day: float, review_share: float | None) -> None:
    """Check that one way to choose is given. Raises :class:`engine.errors.ConfigError`."""
    given = [by_cost, bool(alerts_per_day), review_share is not None]
    if sum(given) != 1:
        raise ConfigError(
            "thresholds must be chosen in one way, however: "
            f"{sum(given)} are given; give one of --by-cost, --alerts-per-day and --review-share"
        )


def _facts(rule: ThresholdRule, judged: Judged, data: Path) -> dict[str, Any]:
    return {
        **rule.to_dict(),
        "data": data.name,
        "from_ms": int(judged.event_time_ms.min()),
        "to_ms": int(judged.event_time_ms.max()),
        "events": len(judged),
    }


def _changed(
    manifest: Manifest, chosen: Thresholds, facts: dict[str, Any], version: str | None
) -> Manifest:
    training = {**manifest.training, "thresholds": facts}
    return replace(
        manifest, thresholds=chosen, training=training, version=version or manifest.version
    )


def _report(
    output: Path,
    judged: Judged,
    wanted: Wanted,
    thresholds: tuple[Thresholds, Thresholds],
    json: bool,
) -> None:
    """Say what the old and the new thresholds do with the events they were chosen on."""
    from models.evaluation import assess
    from models.evaluation.tables import actions_table

    old, new = (assess(judged, each, wanted.costs) for each in thresholds)
    digest = Bundle.load(output).digest
    if json:
        print_json({"bundle": str(output), "digest": digest, "old": _of(old), "new": _of(new)})
        return
    for name, each in (("before", old), ("now", new)):
        at = each.thresholds
        out.print(
            f"[bold]{name}[/bold]: review from {at.review:.4f}, decline from {at.decline:.4f}"
        )
        out.print(table_view(actions_table(each), out), soft_wrap=False)
        out.print()
    out.print(f"{output}: written ({digest[:12]})")


def _of(found: Assessment) -> dict[str, Any]:
    every = found.to_dict()
    return {name: every[name] for name in ("thresholds", "actions", "costs")}
