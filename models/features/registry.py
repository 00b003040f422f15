"""The features by the name that a scorer's declaration gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import ConfigError
from models.features.amount import Amount
from models.features.base import Feature
from models.features.clock import Clock
from models.features.novelty import Novelty
from models.features.recency import Recency
from models.features.spread import Spread
from models.features.windows import Windows

FEATURES: dict[str, type[Feature]] = {
    "amount": Amount,
    "clock": Clock,
    "recency": Recency,
    "windows": Windows,
    "novelty": Novelty,
    "spread": Spread,
}


def build_feature(name: str, options: Mapping[str, Any]) -> Feature:
    """Return a feature by its name.

    Args:
        name: a key of :data:`FEATURES`.
        options: the keyword arguments of its constructor.

    Raises:
        ConfigError: there is no such feature, or it has no such option.
    """
    if name not in FEATURES:
        raise ConfigError(
            f"a feature must be one of {', '.join(FEATURES)}, however: {name!r}; "
            "change its name in scorer.toml"
        )
    try:
        return FEATURES[name](**options)
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"the options of the feature {name} must be those it has, however: {error}; "
            "change them in scorer.toml"
        ) from None
