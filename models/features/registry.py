"""The features by the name that a scorer's declaration gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import ConfigError
from engine.shared import SharedEntity
from models.features.amount import Amount
from models.features.base import Feature
from models.features.clock import Clock
from models.features.combinations import Combinations
from models.features.counterparties import Counterparties
from models.features.entity_outbreak import EntityOutbreak
from models.features.entity_rates import EntityRates
from models.features.entity_recency import EntityRecency
from models.features.entity_windows import EntityWindows
from models.features.maxima import Maxima
from models.features.novelty import Novelty
from models.features.numbers import Numbers
from models.features.recency import Recency
from models.features.spread import Spread
from models.features.windows import Windows

FEATURES: dict[str, type[Feature]] = {
    "amount": Amount,
    "clock": Clock,
    "recency": Recency,
    "windows": Windows,
    "maxima": Maxima,
    "counterparties": Counterparties,
    "novelty": Novelty,
    "combinations": Combinations,
    "spread": Spread,
    "numbers": Numbers,
    "entity_windows": EntityWindows,
    "entity_outbreak": EntityOutbreak,
    "entity_rates": EntityRates,
    "entity_recency": EntityRecency,
}


def build_feature(
    name: str, options: Mapping[str, Any], shared: Sequence[SharedEntity] = ()
) -> Feature:
    """Return a feature by its name.

    Args:
        name: a key of :data:`FEATURES`.
        options: the keyword arguments of its constructor; ``entity`` by its name.
        shared: the entities that are declared.

    Raises:
        ConfigError: there is no such feature, or it has no such option.
    """
    if name not in FEATURES:
        raise ConfigError(
            f"a feature must be one of {', '.join(FEATURES)}, however: {name!r}; "
            "change its name in scorer.toml"
        )
    known = {each.name: each for each in shared}
    if "entity" in options and options["entity"] not in known:
        raise ConfigError(
            f"the entity of a feature must be one of [[shared]], however: {name} has "
            f"{options['entity']!r}; known are {', '.join(known) or 'none'}"
        )
    given = {key: known[value] if key == "entity" else value for key, value in options.items()}
    try:
        return FEATURES[name](**given)
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"the options of the feature {name} must be those it has, however: {error}; "
            "change them in scorer.toml"
        ) from None
