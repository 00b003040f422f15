"""``riskstream bundle show`` and ``verify``; ``thresholds`` has a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from engine.buckets import record
from engine.bundle import Bundle
from engine.device import Device
from engine.manifest import Manifest
from engine.scorer import Scorer
from engine.shared import SharedEntity
from riskstream.options import JsonOption, bundle_folder, out, print_json, settings_of
from riskstream.thresholds import thresholds

app = typer.Typer(help="Look at a bundle, check it, or set its thresholds.", no_args_is_help=True)
app.command()(thresholds)

#: What says how good a bundle's thresholds are: for rules it says nothing.
_OF_THRESHOLDS = ("at_threshold", "card_precision_at_100")

FolderArgument = Annotated[
    Path | None,
    typer.Argument(help="The bundle's folder; the one that comes with riskstream if not given."),
]


@app.command()
def show(folder: FolderArgument = None, json: JsonOption = False) -> None:
    """Show what a bundle says of itself.

    [bold]Examples[/bold]

      riskstream bundle show bundles/fraud-gru

      riskstream bundle show --json | jq .metrics
    """
    bundle = Bundle.load(folder or bundle_folder(settings_of(None)))
    manifest = bundle.manifest
    if json:
        print_json({"digest": bundle.digest, **manifest.to_dict({})})
        return
    out.print(f"[bold]{manifest.name}[/bold] version {manifest.version}")
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(bundle):
        table.add_row(name, value)
    out.print(table)


@app.command()
def verify(folder: FolderArgument = None, json: JsonOption = False) -> None:
    """Check every file of a bundle, and that its graphs load and fit its manifest.

    [bold]Examples[/bold]

      riskstream bundle verify bundles/fraud-gru && deploy bundles/fraud-gru
    """
    bundle = Bundle.load(folder or bundle_folder(settings_of(None)))
    Scorer(bundle, Device.CPU)
    manifest = bundle.manifest
    if json:
        print_json({"ok": True, "digest": bundle.digest, "name": manifest.name})
        return
    out.print(f"{manifest.name} version {manifest.version} is sound ({bundle.digest[:12]})")


def _rows(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    fields = ", ".join(
        f"{field.name} ({field.path}: {field.type})" for field in manifest.schema.streamed
    )
    sizes = f"model {len(bundle.model):,} bytes, reasons {len(bundle.reasons):,} bytes"
    rows = [
        ("digest", bundle.digest),
        ("pack", f"{manifest.pack}, {manifest.family}"),
        ("created", manifest.created),
        ("graphs", sizes),
        ("event", fields),
        ("state", f"{manifest.state.nbytes:,} bytes an account ({manifest.state.digest})"),
        *(("shared", _entity(each)) for each in manifest.shared),
        ("labels", "used" if any(each.takes_labels for each in manifest.shared) else "not used"),
        *_decisions(manifest),
        ("reasons", ", ".join(group.name for group in manifest.reasons)),
        ("features", ", ".join(manifest.features)),
        ("metrics", _flat(_metrics(manifest))),
        ("versions", _flat(manifest.versions)),
    ]
    return [(f"{name}  ", value) for name, value in rows if value]


def _decisions(manifest: Manifest) -> list[tuple[str, str]]:
    """Return what decides: the thresholds of the score, or the rules and what they read."""
    if not manifest.rules:
        review, decline = manifest.thresholds.review, manifest.thresholds.decline
        return [("thresholds", f"review from {review:.4f}, decline from {decline:.4f}")]
    rules = ", ".join(
        f"{each.name} ({each.output} from {each.limit:g}: {each.decision})"
        for each in manifest.rules
    )
    return [
        ("outputs", ", ".join(manifest.outputs)),
        ("parameters", _flat(manifest.parameters)),
        ("rules", rules),
    ]


def _metrics(manifest: Manifest) -> dict[str, Any]:
    """Return the metrics, without those of thresholds where rules decide."""
    left_out = _OF_THRESHOLDS if manifest.rules else ()
    return {
        period: {name: each for name, each in found.items() if name not in left_out}
        if isinstance(found, dict)
        else found
        for period, found in manifest.metrics.items()
    }


def _entity(shared: SharedEntity) -> str:
    quantities = ", ".join(each.name for each in shared.quantities)
    return (
        f"{shared.name} (by {shared.field}): {quantities}; {shared.buckets} buckets of "
        f"{shared.bucket_s / 3600:g} h, closed {shared.grace_s / 3600:g} h after their end; "
        f"{record(shared).itemsize:,} bytes an entity"
    )


def _flat(values: Any, prefix: str = "") -> str:
    parts = []
    for name, value in values.items():
        if isinstance(value, dict):
            parts.append(_flat(value, f"{prefix}{name}."))
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            parts.append(f"{prefix}{name} {shown}")
    return ", ".join(part for part in parts if part)
