"""Which nodes of a graph have no kernel on a GPU: each costs a copy to the host and back.

The table is that of ONNX Runtime's CUDAExecutionProvider at opset 20, for the operators that graphs
of scorers are likely to have (docs/OperatorKernels.md of github.com/microsoft/onnxruntime at
001d12d2623fd411ce0f83d05abb5e82304a3389). What is not in the table counts as having none.
"""

from __future__ import annotations

import onnx

OPSET = 20

_FLOATS = frozenset({"FLOAT", "DOUBLE", "FLOAT16"})
_BFLOATS = _FLOATS | {"BFLOAT16"}
_WIDE = frozenset({"INT32", "INT64", "UINT32", "UINT64"})
_NUMBERS = _BFLOATS | _WIDE | {"INT8", "INT16", "UINT8", "UINT16"}
_ANY = _NUMBERS | {"BOOL"}

_BY_TYPES: dict[frozenset[str], str] = {
    _ANY: "Cast Compress Concat ConstantOfShape Expand Flatten Gather GatherElements Identity "
    "Reshape ScatterElements ScatterND Shape Slice Split Squeeze Transpose Trilu Unsqueeze",
    _NUMBERS: "Abs Add Div Mul Sign Sub",
    frozenset({"BOOL"}): "And Not Or Xor",
    _BFLOATS: "Erf Exp Gelu Gemm LayerNormalization MatMul Relu Sigmoid Softmax Sqrt Sum Tanh",
    _FLOATS: "Ceil Cos Einsum Elu Floor GRU LSTM LeakyRelu Log LogSoftmax PRelu Reciprocal "
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare Round Selu Sin Softplus",
    _FLOATS | _WIDE: "CumSum Greater GreaterOrEqual Less LessOrEqual",
    _FLOATS | _WIDE | {"BOOL"}: "Equal",
    _BFLOATS | _WIDE: "Max Min Mod",
    _BFLOATS | {"INT8", "INT16", "INT32", "INT64"}: "Neg",
    _BFLOATS | {"INT32", "INT64"}: "Pow ReduceSum Tile",
    _FLOATS | {"INT32", "INT64"}: "ReduceMax TopK",
    _FLOATS | {"INT32", "INT64", "INT8", "UINT8"}: "ReduceMin",
    _FLOATS | {"INT32"}: "ReduceMean ReduceProd",
    _FLOATS | {"INT8", "INT64", "UINT8", "UINT64"}: "Clip",
    _FLOATS | {"BOOL"}: "Pad",
    _BFLOATS | {"BOOL", "INT64"}: "GatherND",
    _BFLOATS | {"INT32", "INT64", "UINT8"}: "Where",
    _BFLOATS | frozenset({"FLOAT8E4M3FN"}): "IsInf IsNaN",
}
_TYPES = {name: types for types, names in _BY_TYPES.items() for name in names.split()}

#: Where an operator's data are not its first input.
_DATA_AT = {"Where": 1}


def without_cuda_kernel(content: bytes) -> list[str]:
    """Return the nodes of a graph that CUDA has no kernel for: each with its operator and type.

    Args:
        content: the serialized ONNX model.

    Raises:
        ValueError: the graph is of another opset than the table.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content))
    found = {each.domain: each.version for each in model.opset_import}
    if found.get("") != OPSET:
        raise ValueError(f"the graph's opset must be {OPSET}, however: {found}")
    types = _types(model)
    lines = []
    for node in model.graph.node:
        data = node.input[_DATA_AT.get(node.op_type, 0)] if node.input else node.output[0]
        type_name = types.get(data, "UNKNOWN")
        if node.domain or type_name not in _TYPES.get(node.op_type, ()):
            lines.append(f"{node.name}: {node.op_type} of {type_name}")
    return lines


def _types(model: onnx.ModelProto) -> dict[str, str]:
    """Return the name of the data type of each value of a graph."""
    graph = model.graph
    named = {each.name: each.data_type for each in graph.initializer}
    for each in (*graph.value_info, *graph.input, *graph.output):
        named[each.name] = each.type.tensor_type.elem_type
    return {name: onnx.TensorProto.DataType.Name(number) for name, number in named.items()}
