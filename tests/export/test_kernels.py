"""No node of a graph that is shipped or exported leaves the GPU."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from engine.bundle import Bundle
from export.kernels import OPSET, without_cuda_kernel
from models.packs.registry import pack_folder


@pytest.mark.parametrize("pack", ["fraud", "credit"])
def test_no_node_of_a_shipped_graph_lacks_a_kernel(pack: str) -> None:
    bundle = Bundle.load(pack_folder(pack) / "bundle")
    assert without_cuda_kernel(bundle.model) == []
    assert without_cuda_kernel(bundle.reasons) == []


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
