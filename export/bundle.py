"""From a trained scorer to a bundle: export both graphs, check them, write folder and card."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from engine.bundle import write_bundle
from engine.errors import BundleError
from engine.manifest import MODEL_FILE, REASONS_FILE, Manifest
from export.card import write_card, write_short_card
from export.graph import OPSET, export_model, export_reasons
from export.parity import Parity, check_parity
from models.evaluation import Assessment, Judged, assess
from models.training import TrainedScorer

#: A graph larger than this holds something that it should not.
_MOST_BYTES = 2 << 20


def export_bundle(
    trained: TrainedScorer,
    folder: Path,
    *,
    name: str,
    version: str,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    created: datetime | None = None,
) -> Parity:
    """Write a trained scorer as a bundle, and its model card into the bundle's folder.

    Args:
        trained: what :func:`models.training.train` returned.
        folder: where to; created when missing.
        name, version: of the bundle.
        training: facts to keep beside the training's own settings and periods.
        metrics: figures to keep beside those of the validation period.
        created: when it was made; the present by default.

    Returns:
        The largest differences between the graphs and PyTorch.

    Raises:
        BundleError: a graph disagrees with PyTorch or is too large, or the folder cannot be
            written. Nothing is written unless the graphs are right.
    """
    scorer, schema = trained.scorer.eval(), trained.schema
    files = {
        MODEL_FILE: export_model(scorer, schema),
        REASONS_FILE: export_reasons(scorer, schema),
    }
    for file, content in files.items():
        if len(content) > _MOST_BYTES:
            raise BundleError(f"{file} must be at most {_MOST_BYTES:,} bytes: {len(content):,}")
    parity = check_parity(
        scorer, schema, files[MODEL_FILE], files[REASONS_FILE], sample=trained.sample
    )
    config = trained.config.scorer
    manifest = Manifest(
        name=name,
        version=version,
        pack=config.pack,
        family=config.cell.name,
        created=(created or datetime.now(UTC)).isoformat(timespec="seconds"),
        schema=schema,
        state=scorer.layout,
        thresholds=trained.thresholds,
        reasons=scorer.reasons,
        shared=scorer.shared,
        features=tuple(each.name for each in scorer.outputs),
        outputs=scorer.answer.outputs,
        parameters=scorer.answer.given,
        parameter_bounds=scorer.answer.bounds,
        rules=config.rules,
        decisions=config.decisions,
        reasons_in=scorer.answer.reasons_in,
        training={**trained.facts, **(training or {}), "config": trained.config.to_dict()},
        metrics={"validation": _figures(trained), **(metrics or {})},
        versions=_versions(),
    )
    write_bundle(folder, manifest, files)
    if trained.validation is None or config.rules:
        write_short_card(folder, manifest)
    else:
        write_card(folder, manifest, _assessed(trained, trained.validation))
    return parity


def _figures(trained: TrainedScorer) -> Mapping[str, Any]:
    if trained.validation is None:
        return trained.metrics
    return _assessed(trained, trained.validation).metrics.to_dict()


def _assessed(trained: TrainedScorer, validation: Judged) -> Assessment:
    return assess(validation, trained.thresholds, trained.config.threshold_rule.costs)


def _versions() -> dict[str, str]:
    packages = {name: installed(name).split("+")[0] for name in ("torch", "onnx", "onnxscript")}
    return {**packages, "opset": str(OPSET)}
