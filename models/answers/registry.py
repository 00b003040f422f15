"""The answers by the name that ``[output]`` in a scorer's declaration gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import ConfigError
from models.answers.base import Answer, Probability
from models.answers.quantiles import Quantiles

ANSWERS: dict[str, type[Answer]] = {"probability": Probability, "quantiles": Quantiles}


def learns_labels(name: str) -> bool:
    """Return whether an answer of that name is learnt from labels; an unknown one would be."""
    return name not in ANSWERS or ANSWERS[name].is_probability


def build_answer(name: str, options: Mapping[str, Any]) -> Answer:
    """Return an answer by its name.

    Args:
        name: a key of :data:`ANSWERS`.
        options: the keyword arguments of its constructor.

    Raises:
        ConfigError: there is no such answer, or it has no such option.
    """
    if name not in ANSWERS:
        raise ConfigError(
            f"the kind of [output] must be one of {', '.join(ANSWERS)}, however: {name!r}; "
            "change it in scorer.toml"
        )
    try:
        return ANSWERS[name](**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the options of [output] must be those that {name} has, however: {error}; "
            "change them in scorer.toml"
        ) from None
