"""No node of a graph that is shipped or exported leaves the GPU."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.bundle import Bundle
from engine.device import CPU
from engine.runtime import ort
from export.graph import divide_wide
from export.kernels import OPSET, without_cuda_kernel
from models.packs.registry import pack_folder


@pytest.mark.parametrize("pack", ["fraud", "credit", "market"])
def test_no_node_of_a_shipped_graph_lacks_a_kernel(pack: str) -> None:
    bundle = Bundle.load(pack_folder(pack) / "bundle")
    assert without_cuda_kernel(bundle.model) == []
    assert without_cuda_kernel(bundle.reasons) == []


@pytest.mark.parametrize("pack", ["fraud", "credit", "market"])
def test_a_shipped_graph_joins_no_more_than_a_gpu_can_record(pack: str) -> None:
    bundle = Bundle.load(pack_folder(pack) / "bundle")
    for content in (bundle.model, bundle.reasons):
        nodes = onnx.load_model_from_string(content).graph.node
        assert max(len(each.input) for each in nodes if each.op_type == "Concat") <= 32


def graph(op: str, kind: int, inputs: int = 1, opset: int = OPSET) -> bytes:
    names = ["a", "b", "c"][:inputs]
    kinds = [TensorProto.BOOL, kind, kind] if op == "Where" else [kind] * inputs
    made = helper.make_graph(
        [helper.make_node(op, names, ["y"], name="it")],
        "one",
        [helper.make_tensor_value_info(n, k, ["n"]) for n, k in zip(names, kinds, strict=True)],
        [helper.make_tensor_value_info("y", kind, ["n"])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("op", "kind", "inputs", "found"),
    [
        ("Add", TensorProto.INT64, 2, []),
        ("Where", TensorProto.INT64, 3, []),
        ("Where", TensorProto.BOOL, 3, ["it: Where of BOOL"]),
        ("Clip", TensorProto.INT32, 1, ["it: Clip of INT32"]),
        ("Not", TensorProto.BOOL, 1, []),
        ("NonZero", TensorProto.FLOAT, 1, ["it: NonZero of FLOAT"]),
        ("Sqrt", TensorProto.FLOAT, 1, []),
    ],
)
def test_a_node_without_a_kernel_is_named(
    op: str, kind: int, inputs: int, found: list[str]
) -> None:
    assert without_cuda_kernel(graph(op, kind, inputs)) == found


def test_a_graph_of_another_opset_is_not_judged() -> None:
    with pytest.raises(ValueError, match=r"opset must be 20, however: \{'': 19\}"):
        without_cuda_kernel(graph("Add", onnx.TensorProto.FLOAT, 2, opset=19))


def test_what_joins_many_is_divided_and_joins_the_same() -> None:
    names = [f"x{place}" for place in range(70)]
    made = helper.make_graph(
        [helper.make_node("Concat", names, ["y"], name="wide", axis=1)],
        "one",
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["n", 1]) for each in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 70])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    divide_wide(model)
    onnx.checker.check_model(model)
    assert [len(each.input) for each in model.graph.node] == [32, 32, 6, 3]
    session = ort.InferenceSession(model.SerializeToString(), providers=[CPU])
    (joined,) = session.run(
        None, {name: np.full((2, 1), place, np.float32) for place, name in enumerate(names)}
    )
    np.testing.assert_array_equal(joined, np.tile(np.arange(70, dtype=np.float32), (2, 1)))
