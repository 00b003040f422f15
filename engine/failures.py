"""Events that decode but that the model cannot score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.columns import Decoded, Reason, Reject
from engine.scored import Scored

_SHOWN = 60


def set_aside(decoded: Decoded, scored: Scored) -> tuple[Decoded, Scored]:
    """Turn the events that failed in the graph into rejects.

    A number so large that the model's arithmetic overflows is the usual cause. The account's
    state is as it was before such an event.

    Args:
        decoded: a batch of ``n`` events and its rejects.
        scored: their scores.

    Returns:
        The same without the events that failed, these among the rejects, in the order of rows.
    """
    if not scored.failed.any():
        return decoded, scored
    columns = decoded.columns
    rejects = [
        Reject(
            int(columns.rows[place]),
            Reason.NOT_SCORED,
            "an event must have a finite score and leave a finite state, however: the model gave "
            f"none for {columns.event_ids[place][:_SHOWN]!r}; its numbers are too large",
            columns.accounts[place],
        )
        for place in np.flatnonzero(scored.failed).tolist()
    ]
    keep = ~scored.failed
    moved = (np.cumsum(keep) - 1).tolist()
    kept = replace(
        scored,
        scores=scored.scores[keep],
        decisions=scored.decisions[keep],
        duplicate=scored.duplicate[keep],
        late=scored.late[keep],
        failed=scored.failed[keep],
        kept=scored.kept[keep],
        outputs=None if scored.outputs is None else scored.outputs[keep],
        reasons={moved[place]: found for place, found in scored.reasons.items()},
    )
    every = sorted([*decoded.rejects, *rejects], key=lambda each: each.row)
    return Decoded(columns.take(keep), every), kept
