"""What a default is expected to cost."""

from __future__ import annotations

from torch import Tensor

from models.answers.base import Asked, Probability, Said


class ExpectedLoss(Probability):
    """``exposure`` and ``expected_loss`` beside the probability of default.

    The exposure at default is the bill, held at 0 or more, and ``credit_conversion`` of the limit
    that is not drawn; the expected loss is ``probability * exposure * loss_given_default`` (as in
    Basel's internal-ratings approach: BCBS, 2006, paragraphs 83 and 367). The three are in the
    unit of the bill. The two shares are parameters: the configuration may change them.

    Args:
        bill, limit: the names of the event's fields.
        loss_given_default: the share of the exposure that a default loses.
        credit_conversion: the share of the free limit that is drawn before a default.
    """

    outputs = ("exposure", "expected_loss")

    def __init__(
        self,
        bill: str = "amount",
        limit: str = "limit",
        loss_given_default: float = 0.75,
        credit_conversion: float = 0.25,
    ) -> None:
        super().__init__()
        self.bill, self.limit = bill, limit
        self.reads = (bill, limit)
        self.given = {
            "loss_given_default": float(loss_given_default),
            "credit_conversion": float(credit_conversion),
        }
        self.bounds = dict.fromkeys(self.given, (0.0, 1.0))
        for name, value in self.given.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be a share of 0 to 1: {value}")

    def forward(self, raw: Tensor, asked: Asked) -> Said:
        """See :meth:`models.answers.base.Answer.forward`."""
        score = super().forward(raw, asked).score
        bill = asked.events[self.bill][:, None].clamp(min=0.0)
        free = (asked.events[self.limit][:, None] - bill).clamp(min=0.0)
        exposure = bill + free * asked.parameters["credit_conversion"]
        return Said(score, (exposure, score * exposure * asked.parameters["loss_given_default"]))
