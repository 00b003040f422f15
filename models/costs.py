"""What fraud, reviews and wrong declines cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs in the unit of the events' amounts.

    A reviewed fraud is taken to be recognized, and a reviewed genuine event to go through. An
    approved fraud costs its share of the amount; a declined fraud costs nothing.

    Args:
        review_cost: of one review.
        fraud_loss_share: the share of a fraud's amount that is lost where it is approved.
        decline_cost: of one genuine event that is declined: the margin, the call, the customer.

    Raises:
        ConfigError: a cost is negative or not finite.
    """

    review_cost: float = 3.0
    fraud_loss_share: float = 1.0
    decline_cost: float = 15.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int | float) or not 0.0 <= value < math.inf:
                raise ConfigError(f"{each.name} must be a number of at least 0, however: {value!r}")

    def saved(self, fraud_amount: float, reviews: float, false_declines: float) -> float:
        """Return what alerts save over approving everything.

        Args:
            fraud_amount: the amounts of the frauds among them, added up.
            reviews: how many events are reviewed.
            false_declines: how many genuine events are declined.
        """
        return (
            self.fraud_loss_share * fraud_amount
            - self.review_cost * reviews
            - self.decline_cost * false_declines
        )
