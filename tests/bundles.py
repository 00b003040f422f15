"""A small bundle without PyTorch, and the same arithmetic in plain numpy.

The model remembers an account's last four event ids with their scores, its latest time, and the
count and sum of ``x = log(1 + amount)``. ``logit = 0.5 x - 4`` for the amount, plus
``0.8 (x - mean) - 0.1 min(count, 10)`` for the history, where there is one. With shared entities,
each of their inputs adds its sum under :func:`weights`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.bundle import write_bundle
from engine.columns import Columns
from engine.layout import StateField, StateLayout
from engine.manifest import MODEL_FILE, REASONS_FILE, Manifest, ReasonGroup, Thresholds
from engine.schema import Field, FieldType, Role, Schema
from engine.shared import Measure, Quantity, SharedEntity, Source, kept_features

RING = 4
LATE_MS = 86_400_000
SCHEMA = Schema(
    (
        Field("event_id", "transaction_id", FieldType.IDENTIFIER, Role.EVENT_ID),
        Field("event_time", "time", FieldType.TIMESTAMP, Role.EVENT_TIME),
        Field("account", "card_id", FieldType.IDENTIFIER, Role.ACCOUNT),
        Field("terminal", "terminal_id", FieldType.IDENTIFIER, Role.ENTITY),
        Field("amount", "amount", FieldType.NUMBER, Role.AMOUNT, minimum=0.0),
        Field("fraud", "fraud", FieldType.NUMBER, Role.LABEL),
    )
)
LAYOUT = StateLayout(
    (
        StateField("last_time_ms", "int64"),
        StateField("seen_ids", "int64", (RING,)),
        StateField("count", "float32"),
        StateField("sum", "float32"),
        StateField("scores", "float32", (RING,)),
    ),
    writer="tiny-1",
)
MANIFEST = Manifest(
    name="tiny",
    version="1.0.0",
    pack="fraud",
    family="tiny",
    created="2026-01-31T12:00:00+00:00",
    schema=SCHEMA,
    state=LAYOUT,
    thresholds=Thresholds(review=0.3, decline=0.7),
    reasons=(
        ReasonGroup("amount", "The amount is large."),
        ReasonGroup("history", "The amount is unlike the account's earlier ones."),
    ),
    training={"events": 0},
    metrics={"validation": {}},
    versions={"onnx": onnx.__version__, "opset": "20"},
)

DAY_S = 86_400
TERMINAL = SharedEntity(
    "terminal",
    field="terminal",
    bucket_s=DAY_S,
    buckets=5,
    grace_s=3_600,
    quantities=(
        Quantity("events", Source.EVENT, Measure.COUNT),
        Quantity("money", Source.EVENT, Measure.AMOUNT, amount_at_most=1_000.0),
        Quantity("known", Source.LABEL, Measure.COUNT),
        Quantity("frauds", Source.LABEL, Measure.POSITIVE),
    ),
)
ACCOUNT = SharedEntity(
    "holder",
    field="account",
    bucket_s=DAY_S // 4,
    buckets=9,
    grace_s=0,
    quantities=(Quantity("frauds", Source.LABEL, Measure.POSITIVE),),
)
SHARED = (TERMINAL, ACCOUNT)
#: What the graph's own column log_amount decides; the bundle has it, beside the others.
LARGE = SharedEntity(
    "large",
    field="terminal",
    bucket_s=DAY_S // 2,
    buckets=7,
    grace_s=3_600,
    quantities=(
        Quantity("large", Source.EVENT, Measure.COUNT, feature="log_amount", feature_above=3.5),
        Quantity(
            "genuine",
            Source.LABEL,
            Measure.NEGATIVE,
            feature="log_amount",
            feature_above=3.5,
            feature_at_most=6.0,
        ),
    ),
)
EVERY = (*SHARED, LARGE)

_STATES = {"state_int64": (TensorProto.INT64, 1 + RING), "state_float32": (TensorProto.FLOAT, 6)}
_INPUTS = {
    "event_id": (TensorProto.INT64, None),
    "event_time": (TensorProto.INT64, None),
    "amount": (TensorProto.FLOAT, None),
    **_STATES,
    **{each.input: (TensorProto.FLOAT, (each.buckets, len(each.quantities))) for each in EVERY},
}
_OUTPUTS = {
    "score": (TensorProto.FLOAT, None),
    "duplicate": (TensorProto.BOOL, None),
    "late": (TensorProto.BOOL, None),
    **{f"new_{name}": of for name, of in _STATES.items()},
}
_KEPT = {"kept": (TensorProto.FLOAT, 1)}


def tiny_bundle(folder: Path, **changes: Any) -> Path:
    """Write the bundle into a folder and return the folder.

    Args:
        folder: where to; created when missing.
        changes: fields of the manifest, instead of those of :data:`MANIFEST`.
    """
    files = {MODEL_FILE: model_graph(), REASONS_FILE: reasons_graph()}
    write_bundle(folder, replace(MANIFEST, **changes), files)
    return folder


def shared_bundle(folder: Path, **changes: Any) -> Path:
    """Write the bundle with :data:`EVERY` entity and features, and return the folder."""
    files = {
        MODEL_FILE: model_graph(shared=EVERY),
        REASONS_FILE: reasons_graph(shared=EVERY, features=True),
    }
    changes = {"shared": EVERY, "features": ("of_amount", "of_history")} | changes
    write_bundle(folder, replace(MANIFEST, **changes), files)
    return folder


def weights(shared: SharedEntity) -> NDArray[np.float32]:
    """How many log-odds one of each sum is worth: float32 ``[buckets, quantities]``."""
    age = np.arange(shared.buckets)[:, None] + 1
    kind = np.array([2 ** -(at + 3) for at in range(len(shared.quantities))])
    kind[[each.measure is Measure.AMOUNT for each in shared.quantities]] /= 1_000
    return (kind / age).astype(np.float32)


def model_graph(
    outputs: Iterable[str] = tuple(_OUTPUTS), shared: Sequence[SharedEntity] = ()
) -> bytes:
    """Return the scoring graph, with only some of its outputs where a test wants that."""
    g = _common(shared)
    g.node("Equal", "seen_ids", "id", to="same")
    g.node("Cast", "same", to="same_float", attributes={"to": TensorProto.FLOAT})
    g.node("ReduceMax", "same_float", "axis_1", to="any_float")
    g.node("Cast", "any_float", to="known", attributes={"to": TensorProto.BOOL})
    g.node("Mul", "same_float", "scores", to="hits")
    g.node("ReduceMax", "hits", "axis_1", to="first_score")
    g.node("Add", "amount_part", "history_part", to="logit")
    g.node("Sigmoid", "logit", to="fresh")
    g.node("Where", "known", "first_score", "fresh", to="score_column")
    g.node("Sub", "last", "late_ms", to="oldest")
    g.node("Less", "time", "oldest", to="late_column")
    g.node("Greater", "time", "last", to="newer")
    g.node("Where", "newer", "time", "last", to="latest")
    g.node("Slice", "seen_ids", "at_0", "at_3", "axis_1", to="kept_ids")
    g.node("Concat", "latest", "id", "kept_ids", to="next_int64", attributes={"axis": 1})
    g.node("Where", "known", "state_int64", "next_int64", to="new_state_int64")
    g.node("Add", "count", "one", to="next_count")
    g.node("Add", "sum", "x", to="next_sum")
    g.node("Slice", "scores", "at_0", "at_3", "axis_1", to="kept_scores")
    parts = ("next_count", "next_sum", "fresh", "kept_scores")
    g.node("Concat", *parts, to="next_float32", attributes={"axis": 1})
    g.node("Where", "known", "state_float32", "next_float32", to="new_state_float32")
    for column, name in (
        ("score_column", "score"),
        ("known", "duplicate"),
        ("late_column", "late"),
    ):
        g.node("Squeeze", column, "axis_1", to=name)
    wanted = {name: _OUTPUTS[name] for name in outputs}
    if kept_features(shared):
        g.node("Identity", "x", to="kept")
        wanted |= _KEPT
    return g.serialized(wanted)


def reasons_graph(
    output: str = "contributions", shared: Sequence[SharedEntity] = (), features: bool = False
) -> bytes:
    """Return the reasons graph: how many log-odds each group adds; the same as the features."""
    g = _common(shared)
    g.node("Add", "amount_part", "four", to="of_amount")
    g.node("Concat", "of_amount", "history_part", to=output, attributes={"axis": 1})
    outputs: dict[str, Any] = {output: (TensorProto.FLOAT, 2)}
    if features:
        g.node("Identity", output, to="features")
        outputs["features"] = (TensorProto.FLOAT, 2)
    return g.serialized(outputs)


@dataclass
class TinyReference:
    """The same model, event by event, in numpy: what every cut of a stream must agree with."""

    int64: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    float32: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def score(self, columns: Columns) -> tuple[list[float], list[bool], list[bool]]:
        """Return the scores, the duplicates and the late ones, and move the states on."""
        rows = zip(
            columns.accounts,
            columns.values["event_id"].tolist(),
            columns.event_time_ms.tolist(),
            columns.values["amount"],
            strict=True,
        )
        answers = [self._score(*row) for row in rows]
        return (
            [score for score, _, _ in answers],
            [duplicate for _, duplicate, _ in answers],
            [late for _, _, late in answers],
        )

    def _score(
        self, account: str, event_id: int, time_ms: int, amount: np.float32
    ) -> tuple[float, bool, bool]:
        last, *seen = self.int64.setdefault(account, np.zeros(5, np.int64)).tolist()
        count, total, *scores = self.float32.setdefault(account, np.zeros(6, np.float32))
        late = time_ms < last - LATE_MS
        if event_id in seen:
            return float(scores[seen.index(event_id)]), True, late
        x = np.log(np.float32(1) + amount)
        logit = sum(contributions(amount, count, total)) - np.float32(4)
        score = np.float32(1 / (1 + np.exp(-np.float64(logit))))
        self.int64[account] = np.array([max(last, time_ms), event_id, *seen[:-1]], np.int64)
        self.float32[account] = np.array([count + 1, total + x, score, *scores[:-1]], np.float32)
        return float(score), False, late


def contributions(
    amount: np.float32, count: np.float32, total: np.float32
) -> tuple[np.float32, np.float32]:
    """Return how many log-odds the amount and the history add to an event's score."""
    x = np.log(np.float32(1) + amount)
    unlike = np.float32(0.8) * (x - total / count) if count else np.float32(0)
    return np.float32(0.5) * x, unlike - np.float32(0.1) * min(count, np.float32(10))


class _Builder:
    """Nodes of a graph, in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any, dtype: Any) -> None:
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))

    def node(self, op: str, *inputs: str, to: str, attributes: Any = None) -> None:
        attributes = attributes or ({"keepdims": 1} if op == "ReduceMax" else {})
        self.nodes.append(helper.make_node(op, inputs, [to], **attributes))

    def serialized(self, outputs: dict[str, Any]) -> bytes:
        used = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [_tensor(name, of) for name, of in _INPUTS.items() if name in used],
            [_tensor(name, of) for name, of in outputs.items()],
            self.constants,
        )
        opset = [helper.make_opsetid("", 20)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def _common(shared: Sequence[SharedEntity] = ()) -> _Builder:
    """Return what both graphs begin with: the state's parts, and each group's log-odds."""
    g = _Builder()
    for at in (0, 1, 2, 3, 5, 6):
        g.constant(f"at_{at}", [at], np.int64)
    g.constant("axis_1", [1], np.int64)
    g.constant("axis_2", [2], np.int64)
    g.constant("late_ms", LATE_MS, np.int64)
    for name, value in (
        *(("zero", 0), ("one", 1), ("four", 4), ("ten", 10)),
        *(("half", 0.5), ("steep", 0.8), ("calm", 0.1)),
    ):
        g.constant(name, value, np.float32)
    for source, name in (("event_id", "id"), ("event_time", "time"), ("amount", "money")):
        g.node("Unsqueeze", source, "axis_1", to=name)
    for name, tensor, start, stop in (
        ("last", "state_int64", 0, 1),
        ("seen_ids", "state_int64", 1, 5),
        ("count", "state_float32", 0, 1),
        ("sum", "state_float32", 1, 2),
        ("scores", "state_float32", 2, 6),
    ):
        g.node("Slice", tensor, f"at_{start}", f"at_{stop}", "axis_1", to=name)
    g.node("Add", "money", "one", to="shifted")
    g.node("Log", "shifted", to="x")
    g.node("Mul", "x", "half", to="steepness")
    g.node("Sub", "steepness", "four", to="amount_alone")
    found = "amount_alone"
    for each in shared:
        g.constant(f"{each.name}_weights", weights(each), np.float32)
        g.node("Mul", each.input, f"{each.name}_weights", to=f"{each.name}_parts")
        g.node(
            "ReduceSum",
            f"{each.name}_parts",
            "axis_2",
            to=f"{each.name}_rows",
            attributes={"keepdims": 0},
        )
        g.node("ReduceSum", f"{each.name}_rows", "axis_1", to=f"{each.name}_part")
        g.node("Add", found, f"{each.name}_part", to=f"with_{each.name}")
        found = f"with_{each.name}"
    g.node("Identity", found, to="amount_part")
    g.node("Max", "count", "one", to="at_least_one")
    g.node("Div", "sum", "at_least_one", to="mean")
    g.node("Sub", "x", "mean", to="distance")
    g.node("Mul", "distance", "steep", to="unlike")
    g.node("Greater", "count", "zero", to="has_history")
    g.node("Where", "has_history", "unlike", "zero", to="unlike_known")
    g.node("Min", "count", "ten", to="capped")
    g.node("Mul", "capped", "calm", to="calmness")
    g.node("Sub", "unlike_known", "calmness", to="history_part")
    return g


def _tensor(name: str, of: tuple[int, Any]) -> onnx.ValueInfoProto:
    dtype, size = of
    sizes = size if isinstance(size, tuple) else () if size is None else (size,)
    return helper.make_tensor_value_info(name, dtype, ["batch", *sizes])
