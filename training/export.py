"""A Keras network as ONNX, in ONNX's own recurrent operators, which ONNX Runtime has fused kernels for."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from app.artifact.transform import F64

OPSET = 17  # old enough for every runtime of the last years, new enough for all that is used here


class ExportError(Exception):
    """A layer that cannot be written as ONNX; names it."""


class _Graph:
    """Nodes and weights on the way to a model; `flow` is the name of the value that the next layer reads."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.flow = "window"

    def weight(self, name: str, value: Any, dtype: type[np.generic] = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def then(self, operator: str, name: str, *inputs: str, outputs: tuple[str, ...] | None = None, **how: Any) -> None:
        """Appends a node that reads the flow and `inputs`; its last output becomes the flow."""
        produced = outputs or (name,)
        self.nodes.append(helper.make_node(operator, [self.flow, *inputs], list(produced), name=name, **how))
        self.flow = produced[-1]


def to_onnx(network: keras.Model) -> bytes:
    """The network, from (B, T, F) `window` to (B, ·) `outputs`, any B.

    Raises:
        ExportError: a layer, or a variant of it, that is not supported.
    """
    graph = _Graph()
    _, steps, features = network.input_shape
    graph.then("Transpose", "time_major", perm=[1, 0, 2])  # ONNX's recurrent operators take (T, B, F)
    for layer in network.layers:
        write = _WRITERS.get(type(layer))
        if write is None:
            raise ExportError(f"{layer.name}: there is no ONNX form of a {type(layer).__name__} layer here")
        write(graph, layer)
    graph.then("Identity", "outputs")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "network",
            [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["batch", steps, features])],
            [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["batch", network.output_shape[-1]])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="pricecast",
    )
    model.ir_version = 8  # the one that belongs to the opset
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _lstm(graph: _Graph, layer: layers.LSTM) -> None:
    """Keras orders the gates input, forget, cell, output; ONNX input, output, forget, cell, in a leading direction."""
    how = layer.get_config()
    unusual = how["go_backwards"] or how["stateful"] or how["return_state"]
    if unusual or (how["activation"], how["recurrent_activation"]) != ("tanh", "sigmoid"):
        raise ExportError(f"{layer.name}: only a plain LSTM with tanh and sigmoid has an ONNX form here")
    units = layer.units
    kernel, recurrent, bias = (np.asarray(w) for w in (*layer.get_weights(), np.zeros(4 * units))[:3])

    def gates(weights: F64) -> F64:  # (…, 4·units) to (1, 4·units, …)
        i, f, c, o = np.split(weights, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1).T[None]

    n = layer.name
    every, final = f"{n}.every", f"{n}.final"
    graph.then(
        "LSTM",
        n,
        graph.weight(f"{n}.kernel", gates(kernel)),
        graph.weight(f"{n}.recurrent", gates(recurrent)),
        graph.weight(f"{n}.bias", np.concatenate([gates(bias), np.zeros((1, 4 * units))], axis=1)),
        outputs=("", final) if not layer.return_sequences else (every,),
        hidden_size=units,
    )
    axis = 1 if layer.return_sequences else 0  # (T, 1, B, units) or (1, B, units): drop the direction
    graph.then("Squeeze", f"{n}.flat", graph.weight(f"{n}.axis", [axis], np.int64))


def _dense(graph: _Graph, layer: layers.Dense) -> None:
    activation = layer.get_config()["activation"]
    if activation not in ("linear", "relu"):
        raise ExportError(f"{layer.name}: only a dense layer that is linear or rectified has an ONNX form here")
    kernel, bias = (*layer.get_weights(), np.zeros(layer.units))[:2]
    n = layer.name
    graph.then("Gemm", n, graph.weight(f"{n}.kernel", kernel), graph.weight(f"{n}.bias", bias))
    if activation == "relu":
        graph.then("Relu", f"{n}.relu")


def _nothing(graph: _Graph, layer: keras.layers.Layer) -> None:
    """Dropout acts only while training."""


_WRITERS: dict[type[Any], Callable[[_Graph, Any], None]] = {
    layers.LSTM: _lstm,
    layers.Dense: _dense,
    layers.Dropout: _nothing,
}
