"""``riskstream evaluate``: how good a bundle is on a history with labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.bundle import Bundle
from engine.errors import ConfigError
from models.costs import Costs
from models.packs.code import running
from riskstream.evaluation import Wanted, run
from riskstream.histories import Period, Scoring, open_history
from riskstream.options import (
    BundleOption,
    ConfigOption,
    FieldOption,
    JsonOption,
    LabelsDelayOption,
    UntilOption,
    bundle_folder,
    load_bundle,
    out,
    parse_duration,
    parse_time,
    print_json,
    settings_of,
)
from riskstream.pack_evaluation import own_report, scored_history
from riskstream.page_view import print_page
from riskstream.training_options import require_training
from streams.settings import Settings

if TYPE_CHECKING:
    from models.packs.reports import Report

ReviewCostOption = Annotated[
    float | None, typer.Option("--review-cost", min=0, help="A review's cost, as amounts are.")
]
FraudLossOption = Annotated[
    float | None,
    typer.Option("--fraud-loss-share", min=0, help="The share of a fraud's amount that is lost."),
]
DeclineCostOption = Annotated[
    float | None,
    typer.Option("--decline-cost", min=0, help="What declining a genuine event costs."),
]

#: What the terminal leaves to the report.
_LEFT_OUT = ("Alerts a day", "Calibration", "Cost of the graph", "How this was judged")


def evaluate(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file with labels.")],
    start: Annotated[
        str | None,
        typer.Option("--from", help="Judge events from this time on; earlier ones build states."),
    ] = None,
    until: UntilOption = None,
    labels_delay: LabelsDelayOption = "7d",
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a report: one HTML file.")
    ] = None,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Write it into the bundle's MODEL_CARD.md too.")
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Train other models, and compare.")
    ] = False,
    scenario: Annotated[
        str | None, typer.Option(help="The column that says which kind of fraud it is.")
    ] = None,
    review_cost: ReviewCostOption = None,
    fraud_loss_share: FraudLossOption = None,
    decline_cost: DeclineCostOption = None,
    pack: Annotated[
        str | None, typer.Option(help="The pack whose report it is, if not the bundle's.")
    ] = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    r"""Judge a bundle on a history: what its alerts find and save, and where it fails.

    Needs the extra riskstream\[train]. Cards with a fraud from 14 days before
    --from on are left out from 8 days after it, as the Fraud Detection Handbook's
    protocol has it. Each score knows the labels that were known at its event.
    Costs that are not given are those of the bundle's training. Where the pack
    has a report of its own, as credit and market have, that one is given.

    [bold]Examples[/bold]

      riskstream evaluate history.parquet --from 2026-06-08 --report report.html

      riskstream evaluate raw.csv -c config/handbook.toml --from 2018-08-08 --json
    """
    require_training()
    settings = settings_of(config, bundle, field)
    if write_card and settings.model.bundle is None:
        raise ConfigError(
            "--write-card must have a bundle of your own, however: none is configured; give its "
            "folder with --bundle"
        )
    loaded = load_bundle(settings)
    own = own_report(loaded, pack)
    if own is not None:
        given = {
            "--baselines": baselines or None,
            "--scenario": scenario,
            "--review-cost": review_cost,
            "--fraud-loss-share": fraud_loss_share,
            "--decline-cost": decline_cost,
        }
        _refuse(pack or loaded.manifest.pack, given)
        how = Scoring(parse_duration("--labels-delay", labels_delay))
        opened = open_history(file, loaded.manifest.schema, settings, Period(None, until))
        start_ms = parse_time("--from", start) or 0
        scored = scored_history(opened, loaded, settings, how, start_ms, file.name)
        with running("report", file.name):
            told = own(scored)
        _tell_own(told, int(scored.judged.sum()), loaded, settings, report, write_card, json)
        return
    costs = costs_of(
        loaded.manifest.training,
        review_cost=review_cost,
        fraud_loss_share=fraud_loss_share,
        decline_cost=decline_cost,
    )
    wanted = Wanted(
        file=file,
        period=Period(start, until),
        start_ms=parse_time("--from", start) or 0,
        how=Scoring(parse_duration("--labels-delay", labels_delay), baselines),
        costs=costs,
        scenario=scenario,
    )
    found = run(wanted, loaded, settings)
    if report is not None:
        _write("--report", report, found.page(with_figures=True).html())
    if write_card:
        found.write_card(bundle_folder(settings))
    if json:
        print_json(found.to_dict())
        return
    print_page(found.page(), out, without=_LEFT_OUT)
    _tell(found.assessment.metrics.events, report)


def _refuse(pack: str, given: Mapping[str, Any]) -> None:
    """Refuse options that a pack's own report does not know. Raises :class:`ConfigError`.

    Args:
        pack: whose report it is.
        given: the options with their values; None for one that is not given.
    """
    strange = [name for name, value in given.items() if value is not None]
    if strange:
        raise ConfigError(
            f"{', '.join(strange)} must go with a pack that has no report of its own, however: "
            f"{pack} has one, which does not know such options; leave them out"
        )


def _tell_own(
    told: Report,
    events: int,
    bundle: Bundle,
    settings: Settings,
    report: Path | None,
    write_card: bool,
    json: bool,
) -> None:
    """Show and write a pack's own report."""
    if report is not None:
        _write("--report", report, told.html())
    if write_card:
        from export.card import update_card

        update_card(bundle_folder(settings), bundle.manifest, told.without_figures())
    if json:
        print_json(told.figures)
        return
    print_page(told.without_figures(), out)
    _tell(events, report)


def costs_of(training: Mapping[str, Any], **given: float | None) -> Costs:
    """Return the costs of a bundle's training, with what the command line says over them."""
    config = training.get("config")
    known = {name: config[name] for name in given if name in config} if config else {}
    return replace(
        Costs(**known), **{name: value for name, value in given.items() if value is not None}
    )


def _write(option: str, path: Path, text: str) -> None:
    """Write a text file. Raises :class:`engine.errors.ConfigError`."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option} must be a file to write, however: {error}") from None


def _tell(events: int, report: Path | None) -> None:
    out.print()
    if report is None:
        out.print("--report report.html writes all of it, with figures.", style="dim")
    else:
        out.print(f"{report}: the report, {events:,} events")
