"""The scorer as ONNX graphs with a dynamic batch axis."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import onnx
import torch
from torch import Tensor, nn

from engine.errors import BundleError
from engine.layout import StateLayout
from engine.manifest import PARAMETER_PREFIX
from engine.schema import FieldType, Schema
from models.scorer import Scorer

OPSET = 20

_WRONG_FOR_INT64 = ("Max", "Min", "Clip", "Sign")

#: ONNX Runtime records no Concat of more inputs in a CUDA graph.
_WIDEST = 32

#: Of the example batch that is traced; any size above 1 gives the same graph.
_EXAMPLE = 3


class _Arguments(NamedTuple):
    """What a scorer takes, by name."""

    events: dict[str, Tensor]
    state: dict[str, Tensor]
    shared: dict[str, Tensor]
    parameters: dict[str, Tensor]


class _Graph(nn.Module):
    """A scorer that takes positional tensors: inputs, states, shared entities, parameters."""

    scorer: Scorer

    def __init__(self, scorer: Scorer, layout: StateLayout) -> None:
        super().__init__()
        self.scorer = scorer
        self.names = scorer.inputs
        self.dtypes = tuple(layout.sizes)
        self.shared = tuple(each.input for each in scorer.shared)
        self.given = tuple(scorer.answer.given)

    def arguments(self, tensors: Sequence[Tensor]) -> _Arguments:
        """Return the tensors by name."""
        fields, states = len(self.names), len(self.names) + len(self.dtypes)
        buckets = states + len(self.shared)
        return _Arguments(
            dict(zip(self.names, tensors[:fields], strict=True)),
            dict(zip(self.dtypes, tensors[fields:states], strict=True)),
            dict(zip(self.shared, tensors[states:buckets], strict=True)),
            dict(zip(self.given, tensors[buckets:], strict=True)),
        )


class _StepGraph(_Graph):
    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return score, duplicate, late, outputs, what is kept, and the new states."""
        out = self.scorer.step(*self.arguments(tensors))
        outputs = (out.outputs,) if self.scorer.answer.outputs else ()
        kept = (out.kept,) if self.scorer.kept else ()
        states = (out.state[each] for each in self.dtypes)
        return out.score, out.duplicate, out.late, *outputs, *kept, *states


class _ReasonsGraph(_Graph):
    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the contributions and the features."""
        asked = self.arguments(tensors)
        return self.scorer.explain(asked.events, asked.state, asked.shared)


def export_model(scorer: Scorer, schema: Schema) -> bytes:
    """Return the scoring graph.

    Inputs: the scorer's fields by name, ``[batch]``; ``state_<dtype> [batch, size]``;
    ``shared_<entity> [batch, buckets, quantities]``; ``parameter_<name> [batch]``. Outputs:
    ``score`` float32, ``duplicate`` and ``late`` bool, each ``[batch]``; ``outputs`` float32
    ``[batch, m]`` where there are values beside the score; ``kept`` float32 ``[batch, k]`` where
    shared entities need features; ``new_state_<dtype>``.
    """
    layout = scorer.layout
    kept = ["outputs"] if scorer.answer.outputs else []
    kept += ["kept"] if scorer.kept else []
    states = [f"new_state_{each}" for each in layout.sizes]
    outputs = ["score", "duplicate", "late", *kept, *states]
    return _export(_StepGraph(scorer, layout), schema, layout, outputs)


def export_reasons(scorer: Scorer, schema: Schema) -> bytes:
    """Return the reasons graph.

    The same inputs; ``contributions`` float32 ``[batch, groups]``, and ``features`` float32
    ``[batch, f]``, the columns in the order of the scorer's outputs.
    """
    layout = scorer.layout
    return _export(_ReasonsGraph(scorer, layout), schema, layout, ["contributions", "features"])


def _export(graph: _Graph, schema: Schema, layout: StateLayout, outputs: list[str]) -> bytes:
    examples = _examples(graph.scorer, schema, layout)
    names = [*graph.names, *(f"state_{each}" for each in layout.sizes), *graph.shared]
    names += [f"{PARAMETER_PREFIX}{each}" for each in graph.given]
    batch = torch.export.Dim("batch")
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            tuple(examples),
            input_names=names,
            output_names=outputs,
            dynamic_shapes=(tuple({0: batch} for _ in examples),),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
    if program is None:
        raise RuntimeError("the exporter must return a program, however: it returned none")
    model = program.model_proto  # made anew each time it is asked for
    refuse_wrong_kernels(model)
    divide_wide(model)
    return _stripped(model)


def _examples(scorer: Scorer, schema: Schema, layout: StateLayout) -> list[Tensor]:
    types = {each.name: each.type for each in schema.streamed}
    fields = [
        torch.zeros(
            _EXAMPLE, dtype=torch.float32 if types[name] is FieldType.NUMBER else torch.int64
        )
        for name in scorer.inputs
    ]
    states = [
        torch.zeros(_EXAMPLE, size, dtype=getattr(torch, dtype))
        for dtype, size in layout.sizes.items()
    ]
    shared = [torch.zeros(_EXAMPLE, each.buckets, len(each.quantities)) for each in scorer.shared]
    parameters = [torch.ones(_EXAMPLE) for _ in scorer.answer.given]
    return fields + states + shared + parameters


def refuse_wrong_kernels(model: onnx.ModelProto) -> None:
    """Raise if the graph has a node that ONNX Runtime computes wrongly.

    Its Max, Min, Clip and Sign of int64 are wrong on x86-64 where its Eigen lacks a fix
    (github.com/microsoft/onnxruntime/pull/25280).
    """
    typed = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    integers = {
        each.name for each in typed if each.type.tensor_type.elem_type == onnx.TensorProto.INT64
    }
    for node in model.graph.node:
        if node.op_type in _WRONG_FOR_INT64 and integers & {*node.input[:1], *node.output}:
            raise BundleError(
                f"a graph must have no {node.op_type} of int64, which ONNX Runtime computes "
                f"wrongly, however: {node.name} is one; use torch.where"
            )


def divide_wide(model: onnx.ModelProto) -> None:
    """Join what is joined of more than 32 tensors in two steps: a CUDA graph allows no more."""
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Concat" and len(node.input) > _WIDEST:
            names = list(node.input)
            parts = [names[at : at + _WIDEST] for at in range(0, len(names), _WIDEST)]
            joined = [f"{node.name}_part_{place}" for place in range(len(parts))]
            for part, name in zip(parts, joined, strict=True):
                nodes.append(onnx.helper.make_node("Concat", part, [name], name))
                nodes[-1].attribute.extend(node.attribute)
            node.input[:] = joined
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _stripped(model: onnx.ModelProto) -> bytes:
    """Return the graph without what only tells of its making: metadata, docstrings, names."""
    del model.metadata_props[:]
    del model.functions[:]
    model.doc_string = ""
    graph = model.graph
    graph.name = "riskstream"
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress lines and notices to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
