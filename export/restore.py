"""From a bundle back to PyTorch: to check it, or to train it further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from engine.bundle import Bundle
from engine.errors import BundleError
from models.config import ScorerConfig
from models.scorer import Scorer

_PREFIX = "scorer."


def restore_scorer(bundle: Bundle) -> Scorer:
    """Return the scorer that a bundle was exported from, in evaluation mode.

    Its weights are the graphs' constants, which the export leaves their names.

    Raises:
        BundleError: the manifest or the graphs are not those of :mod:`export.bundle`.
    """
    config = bundle.manifest.training.get("config")
    if not isinstance(config, Mapping) or "scorer" not in config:
        raise BundleError(
            "a bundle to restore must hold the configuration of its scorer, however: it has none"
        )
    scorer_config = replace(_scorer_config(config["scorer"]), shared=bundle.manifest.shared)
    scorer = Scorer(bundle.manifest.schema, scorer_config)
    found = {**_constants(bundle.reasons), **_constants(bundle.model)}
    known = scorer.state_dict()
    missing = sorted(name for name, _ in scorer.named_parameters() if name not in found)
    if missing:
        raise BundleError(f"the graphs must hold every weight, however: {missing} missing")
    scorer.load_state_dict(
        {name: found[name].reshape(value.shape) for name, value in known.items() if name in found},
        strict=False,
    )
    return scorer.eval()


def _scorer_config(raw: Mapping[str, Any]) -> ScorerConfig:
    """Read the configuration as the manifest holds it, where each part's options lie apart."""
    cell, output = raw["cell"], raw.get("output")
    return ScorerConfig.from_dict(
        {
            **raw,
            "features": [{"name": each["name"], **each["options"]} for each in raw["features"]],
            "cell": {"family": cell["name"], **cell["options"]},
            **({"output": {"kind": output["name"], **output["options"]}} if output else {}),
        }
    )


def _constants(graph: bytes) -> dict[str, Tensor]:
    """Return the named weights of a serialized graph."""
    return {
        each.name.removeprefix(_PREFIX): torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in onnx.load_from_string(graph).graph.initializer
        if each.name.startswith(_PREFIX)
    }
