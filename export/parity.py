"""Whether an exported graph gives what PyTorch gives, over many events with carried state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from engine.errors import BundleError
from engine.layout import StateLayout
from engine.manifest import PARAMETER_PREFIX
from engine.schema import FieldType, Schema
from engine.shared import SharedEntity
from models.scorer import Explanation, Scorer

#: The largest difference of a score that is taken for rounding.
TOLERANCE = 1e-5
#: The same for contributions, which are log-odds and not probabilities.
LOGIT_TOLERANCE = 1e-3
#: The same for a feature, relative to 1 or its own size.
FEATURE_TOLERANCE = 1e-4

BATCH_SIZES = (1, 7, 256)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest differences found.

    Args:
        events: how many events were compared.
        score: of a score, and of the values beside it, relative to 1 or their own size.
        state: of a float in the state, relative to 1 or its own size; integers must be the same.
        contribution: of a contribution to the log-odds.
        feature: of a column, relative to 1 or its own size.
    """

    events: int
    score: float
    state: float
    contribution: float
    feature: float


def check_parity(
    scorer: Scorer,
    schema: Schema,
    model: bytes,
    reasons: bytes,
    *,
    sample: Arrays | None = None,
    steps: int = 24,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> Parity:
    """Run both graphs beside the scorer, each with its own carried state.

    They are run on a random stream, with repeats, late events, equal times and long gaps, and on
    ``sample``: real events, field to ``[accounts, T]``. The buckets of shared entities are random.

    Raises:
        BundleError: scores, marks, states or contributions differ by more than rounding.
    """
    rng = np.random.default_rng(0)
    pair = _Pair(scorer, _session(model), _session(reasons))
    for size in batch_sizes:
        pair.start(size)
        for events in random_stream(scorer.inputs, schema, size, steps, rng):
            pair.compare(events, random_buckets(scorer.shared, size, rng))
    if sample is not None:
        accounts, length = sample[schema.event_id.name].shape
        pair.start(accounts)
        for at in range(length):
            events = {name: part[:, at].copy() for name, part in sample.items()}
            pair.compare(events, random_buckets(scorer.shared, accounts, rng))
    found = Parity(pair.events, pair.score, pair.state, pair.contribution, pair.feature)
    if not (
        found.score <= TOLERANCE
        and found.contribution <= LOGIT_TOLERANCE
        and found.feature <= FEATURE_TOLERANCE
    ):
        raise BundleError(
            f"an exported graph must agree with PyTorch to {TOLERANCE} in the score, "
            f"{LOGIT_TOLERANCE} in the reasons and {FEATURE_TOLERANCE} in the features, "
            f"however: {found}; do not ship it"
        )
    return found


def random_buckets(
    shared: Sequence[SharedEntity], size: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Return buckets of ``size`` entities of each kind, as the graph takes them.

    About a third of the entities are unknown (all zeros), and some buckets are negative, as
    corrected labels leave them.
    """
    found = {}
    for each in shared:
        shape = (size, each.buckets, len(each.quantities))
        known = (rng.random(size) > 0.3) * rng.exponential(1.0, size)
        buckets = rng.poisson(np.broadcast_to(known[:, None, None], shape)) - (
            rng.random(shape) < 0.01
        )
        found[each.input] = buckets.astype(np.float32)
    return found


def random_stream(
    inputs: Sequence[str], schema: Schema, size: int, steps: int, rng: np.random.Generator
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield ``steps`` batches of one event for each of ``size`` accounts, as the graph takes them.

    About one event in ten repeats the one before, one in ten is late, one comes after a long gap.
    """
    fields = {each.name: each for each in schema.streamed if each.name in inputs}
    now = np.full(size, 1_525_000_000_000, dtype=np.int64)
    last: dict[str, NDArray[Any]] = {}
    for _ in range(steps):
        kind = rng.random(size)
        gap_s = np.where(kind < 0.1, 40 * 86_400, rng.integers(0, 100_000, size))
        now = now + gap_s * 1000
        late = np.where((kind > 0.1) & (kind < 0.2), 3 * 86_400_000, 0)
        batch: dict[str, NDArray[Any]] = {}
        for name, field in fields.items():
            if field.type is FieldType.TIMESTAMP:
                fresh: NDArray[Any] = now - late
            elif field.type is FieldType.NUMBER:
                fresh = rng.lognormal(3.5, 1.0, size).round(2).astype(np.float32)
            elif field is schema.event_id:
                fresh = rng.integers(-(2**63), 2**63 - 1, size)
            else:
                fresh = rng.integers(-3, 3, size) * (2**61)
            batch[name] = np.where(kind > 0.9, last.get(name, fresh), fresh).astype(fresh.dtype)
        last = batch
        yield batch


class _Pair:
    """A scorer and its graphs, side by side."""

    def __init__(
        self,
        scorer: Scorer,
        model: onnxruntime.InferenceSession,
        reasons: onnxruntime.InferenceSession,
    ) -> None:
        self.scorer = scorer.eval()
        self.model, self.reasons = model, reasons
        self.layout: StateLayout = scorer.layout
        self.events = 0
        self.score = self.state = self.contribution = self.feature = 0.0

    def start(self, size: int) -> None:
        """Begin with ``size`` new accounts."""
        self.ours = {
            dtype: torch.zeros(size, width, dtype=getattr(torch, dtype))
            for dtype, width in self.layout.sizes.items()
        }
        self.theirs = {f"state_{dtype}": part.numpy() for dtype, part in self.ours.items()}

    def compare(self, events: Arrays, shared: Arrays) -> None:
        """Run one batch through both and keep the largest differences."""
        tensors = {name: torch.from_numpy(column) for name, column in events.items()}
        buckets = {name: torch.from_numpy(part) for name, part in shared.items()}
        own, size = self.scorer.answer.given, len(next(iter(events.values())))
        given = {name: torch.full((size,), value) for name, value in own.items()}
        feed = {**events, **self.theirs, **shared}
        feed |= {f"{PARAMETER_PREFIX}{name}": each.numpy() for name, each in given.items()}
        with torch.inference_mode():
            explained = self.scorer.explain(tensors, self.ours, buckets)
            out = self.scorer.step(tensors, self.ours, buckets, given)
        found = run(self.model, feed)
        reasons = run(self.reasons, feed)
        for name in ("duplicate", "late"):
            _same(name, getattr(out, name).numpy(), found[name])
        self._compare_state({dtype: part.numpy() for dtype, part in out.state.items()}, found)
        self.score = _largest(self.score, out.score.numpy(), found["score"])
        if out.outputs.shape[1]:
            self.score = _relative(self.score, out.outputs.numpy(), found["outputs"])
        self._compare_reasons(explained, reasons)
        self.events += len(found["score"])
        self.ours = dict(out.state)
        self.theirs = {f"state_{dtype}": found[f"new_state_{dtype}"] for dtype in self.ours}

    def _compare_reasons(self, ours: Explanation, found: Arrays) -> None:
        pushed = ours.contributions.numpy()
        self.contribution = _largest(self.contribution, pushed, found["contributions"])
        self.feature = _relative(self.feature, ours.features.numpy(), found["features"])

    def _compare_state(self, ours: Arrays, found: Arrays) -> None:
        for dtype, mine in ours.items():
            theirs = found[f"new_state_{dtype}"]
            if dtype == "float32":
                self.state = _relative(self.state, mine, theirs)
            else:
                _same(f"new_state_{dtype}", mine, theirs)


def run(session: onnxruntime.InferenceSession, feed: Arrays) -> dict[str, NDArray[Any]]:
    """Run a graph; inputs it does not have are left out. Returns its outputs by name."""
    taken = {each.name: feed[each.name] for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, taken), strict=True))


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _largest(so_far: float, ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Return the largest difference yet; NaN stays NaN."""
    return float(np.maximum(so_far, np.abs(ours - theirs).max()))


def _relative(so_far: float, ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Return the largest difference yet, relative to 1 or the size of what is compared."""
    scale = np.maximum(np.abs(ours), 1.0)
    return _largest(so_far, ours / scale, theirs / scale)


def _same(name: str, ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    differ = int((ours != theirs).sum())
    if differ:
        raise BundleError(
            f"{name} of an exported graph must be that of PyTorch, however: {differ} of "
            f"{ours.size} differ; do not ship it"
        )
