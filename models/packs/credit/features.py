"""Features of monthly statements: the present one, and what the last six of them say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.layout import StateField
from models.features.base import DAY_MS, Context, Feature, FeatureResult, Output

#: How many statements are looked at together, the present one among them.
MONTHS = 6

_DAYS_A_MONTH = 30.4
_MOST_MONTHS = 24.0
#: The columns with what each says of a client, in the order in which they are made.
_COLUMNS = {
    "arrears": (
        *("status", "unused", "paid_in_full", "revolving", "one_behind", "two_behind"),
        *("more_behind", "status_before", "worst_status", "months_behind", "mean_status"),
        "arrears_sum",
    ),
    "utilisation": (
        *("bill", "utilisation", "rise", "mean_utilisation", "most_utilised", "least_utilised"),
    ),
    "payments": (
        *("payment", "paid_share", "paid_of_bill", "mean_paid", "most_paid", "least_paid"),
        "months_unpaid",
    ),
    "limit": ("limit",),
    "history": ("statements", "months_since"),
}
_FIELDS = ("bill", "status", "utilisation", "paid_share")


class Statements(Feature):
    """What a statement and the five before it say; amounts as they are and by the limit.

    ``status_before`` is the change of the status; ``paid_of_bill`` the payment by the bill before,
    held to 10; ``rise`` the bill's, by the limit; means, extremes and counts are of the last six
    statements. ``statements`` is how many of these there are, ``months_since`` the months since the
    last one, 1 for a first.

    Args:
        bill, limit, status, payment: the names of the event's fields.
    """

    def __init__(
        self,
        bill: str = "amount",
        limit: str = "limit",
        status: str = "status",
        payment: str = "payment",
    ) -> None:
        super().__init__()
        self.names = (bill, limit, status, payment)
        self.reads = (bill, limit, status, payment)
        self.outputs = tuple(
            Output(name, group) for group, names in _COLUMNS.items() for name in names
        )
        self.state = (
            StateField("statements", "float32"),
            *(StateField(f"past_{name}", "float32", (MONTHS - 1,)) for name in _FIELDS),
        )
        self.register_buffer("age", torch.arange(1, MONTHS).float()[None], persistent=False)

    age: Tensor

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        bill, limit, status, payment = (context.events[name][:, None] for name in self.names)
        utilisation, paid = bill / limit, payment / limit
        before = state["statements"]
        held = self.age <= before
        past = {name: torch.where(held, state[f"past_{name}"], 0.0) for name in _FIELDS}
        now = dict(zip(_FIELDS, (bill, status, utilisation, paid), strict=True))
        window = _Window(held, before.clamp(max=MONTHS - 1.0) + 1.0)
        months = context.gap_ms.float() * (1.0 / (DAY_MS * _DAYS_A_MONTH))
        since = torch.where(before < 0.5, 1.0, months.clamp(max=_MOST_MONTHS))
        groups = (
            _arrears(status, past["status"], window),
            _utilisation(now, past, limit, window),
            _payments(payment, paid, past, window),
            (limit,),
            (window.count, since),
        )
        columns = tuple(column for group in groups for column in group)
        new = {f"past_{name}": (now[name], past[name][:, : MONTHS - 2]) for name in _FIELDS}
        return FeatureResult(columns, {"statements": (before + 1.0).clamp(max=MONTHS), **new})


class _Window:
    """The present statement and those before it: ``held [B, 5]``, ``count [B, 1]``."""

    def __init__(self, held: Tensor, count: Tensor) -> None:
        self.held, self.count = held, count

    def total(self, now: Tensor, past: Tensor) -> Tensor:
        return now + torch.where(self.held, past, 0.0).sum(1, keepdim=True)

    def mean(self, now: Tensor, past: Tensor) -> Tensor:
        return self.total(now, past) / self.count

    def most(self, now: Tensor, past: Tensor) -> Tensor:
        return torch.maximum(now, torch.where(self.held, past, now).amax(1, keepdim=True))

    def least(self, now: Tensor, past: Tensor) -> Tensor:
        return torch.minimum(now, torch.where(self.held, past, now).amin(1, keepdim=True))


def _arrears(status: Tensor, past: Tensor, window: _Window) -> Sequence[Tensor]:
    flags = [(status == value).float() for value in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    behind, was_behind = (status > 0.5).float(), (past > 0.5).float()
    return (
        status,
        *flags,
        (status > 2.5).float(),
        status - past[:, :1],
        window.most(status, past),
        window.total(behind, was_behind),
        window.mean(status, past),
        window.total(status.clamp(min=0.0), past.clamp(min=0.0)),
    )


def _utilisation(
    now: Mapping[str, Tensor], past: Mapping[str, Tensor], limit: Tensor, window: _Window
) -> Sequence[Tensor]:
    used, was_used = now["utilisation"], past["utilisation"]
    return (
        now["bill"],
        used,
        (now["bill"] - past["bill"][:, :1]) / limit,
        window.mean(used, was_used),
        window.most(used, was_used),
        window.least(used, was_used),
    )


def _payments(
    payment: Tensor, paid: Tensor, past: Mapping[str, Tensor], window: _Window
) -> Sequence[Tensor]:
    owed = past["bill"][:, :1].abs().clamp(min=1.0)
    was_paid = past["paid_share"]
    unpaid, was_unpaid = (paid <= 0.0).float(), (was_paid <= 0.0).float()
    return (
        payment,
        paid,
        (payment / owed).clamp(max=10.0),
        window.mean(paid, was_paid),
        window.most(paid, was_paid),
        window.least(paid, was_paid),
        window.total(unpaid, was_unpaid),
    )


class Attributes(Feature):
    """Attributes of the client that came with an earlier statement, or come with this one.

    An attribute is not said where it is 0. The pack's scorer does not have this feature; it serves
    to measure what leaving protected attributes out costs.

    Args:
        fields: the names of numbers of the event.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__()
        self.reads = tuple(fields)
        self.outputs = tuple(Output(f"client_{name}", "client") for name in fields)
        self.state = (StateField("attributes", "float32", (len(self.reads),)),)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        said = torch.stack([context.events[name] for name in self.reads], dim=1)
        known = torch.where(said != 0.0, said, state["attributes"])
        return FeatureResult((known,), {"attributes": known})
