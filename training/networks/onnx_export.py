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
    """Nodes and weights on the way to a model; `flow` is the name of the value that the next layer reads.

    It is (T, B, F) while `is_sequence`, as ONNX's recurrent operators have it, and (B, F) otherwise.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.flow = "window"
        self.is_sequence = True

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
    graph.then("Transpose", "time_major", perm=[1, 0, 2])
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


def _rnn(graph: _Graph, layer: layers.SimpleRNN) -> None:
    activation = layer.get_config()["activation"]
    if _is_unusual(layer) or activation not in ("tanh", "relu"):
        raise ExportError(f"{layer.name}: only a plain SimpleRNN with tanh or relu has an ONNX form here")
    kernel, recurrent, bias = _weights(layer, 1)
    bias = np.concatenate([bias, np.zeros(layer.units)])
    name = {"tanh": "Tanh", "relu": "Relu"}[activation]
    _recurrent(graph, layer, "RNN", kernel.T, recurrent.T, bias, activations=[name])


def _gru(graph: _Graph, layer: layers.GRU) -> None:
    """Keras and ONNX have the gates in the same order: update, reset, candidate."""
    how = layer.get_config()
    if _is_unusual(layer) or (how["activation"], how["recurrent_activation"]) != ("tanh", "sigmoid"):
        raise ExportError(f"{layer.name}: only a plain GRU with tanh and sigmoid has an ONNX form here")
    kernel, recurrent, bias = _weights(layer, 3)
    biases = np.concatenate([bias.reshape(-1), np.zeros(3 * layer.units)])[: 6 * layer.units]  # some have both
    _recurrent(graph, layer, "GRU", kernel.T, recurrent.T, biases, linear_before_reset=int(how["reset_after"]))


def _lstm(graph: _Graph, layer: layers.LSTM) -> None:
    """Keras orders the gates input, forget, cell, output; ONNX input, output, forget, cell."""
    how = layer.get_config()
    if _is_unusual(layer) or (how["activation"], how["recurrent_activation"]) != ("tanh", "sigmoid"):
        raise ExportError(f"{layer.name}: only a plain LSTM with tanh and sigmoid has an ONNX form here")

    def gates(weights: F64) -> F64:  # (…, 4·units) to (4·units, …)
        i, f, c, o = np.split(weights, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1).T

    kernel, recurrent, bias = map(gates, _weights(layer, 4))
    _recurrent(graph, layer, "LSTM", kernel, recurrent, np.concatenate([bias, np.zeros(4 * layer.units)]))


def _is_unusual(layer: layers.RNN) -> bool:
    how = layer.get_config()
    return any(how[key] for key in ("go_backwards", "stateful", "return_state"))


def _weights(layer: layers.RNN, gates: int) -> list[F64]:
    """Of the input, of the state, and the bias: (F, G·U), (U, G·U) and (G·U,), or (2, G·U) of some GRUs."""
    return [np.asarray(each) for each in (*layer.get_weights(), np.zeros(gates * layer.units))][:3]


def _recurrent(
    graph: _Graph, layer: layers.RNN, operator: str, kernel: F64, recurrent: F64, bias: F64, **how: Any
) -> None:
    """Weights (G·U, F), (G·U, U) and (2·G·U,), which get a leading direction."""
    n = layer.name
    every, final = f"{n}.every", f"{n}.final"
    graph.then(
        operator,
        n,
        graph.weight(f"{n}.kernel", kernel[None]),
        graph.weight(f"{n}.recurrent", recurrent[None]),
        graph.weight(f"{n}.bias", bias[None]),
        outputs=("", final) if not layer.return_sequences else (every,),
        hidden_size=layer.units,
        **how,
    )
    axis = 1 if layer.return_sequences else 0  # (T, 1, B, units) or (1, B, units): drop the direction
    graph.then("Squeeze", f"{n}.flat", graph.weight(f"{n}.axis", [axis], np.int64))
    graph.is_sequence = layer.return_sequences


def _dense(graph: _Graph, layer: layers.Dense) -> None:
    activation = layer.get_config()["activation"]
    if activation not in _ACTIVATIONS:
        raise ExportError(f"{layer.name}: only a dense layer that is linear, rectified or tanh has an ONNX form here")
    kernel, bias = (*layer.get_weights(), np.zeros(layer.units))[:2]
    n = layer.name
    if graph.is_sequence:
        graph.then("MatMul", f"{n}.product", graph.weight(f"{n}.kernel", kernel))
        graph.then("Add", n, graph.weight(f"{n}.bias", bias))
    else:
        graph.then("Gemm", n, graph.weight(f"{n}.kernel", kernel), graph.weight(f"{n}.bias", bias))
    if operator := _ACTIVATIONS[activation]:
        graph.then(operator, f"{n}.{activation}")


def _repeat(graph: _Graph, layer: layers.RepeatVector) -> None:
    n = layer.name
    graph.then("Unsqueeze", f"{n}.once", graph.weight(f"{n}.axis", [0], np.int64))
    graph.then("Expand", n, graph.weight(f"{n}.shape", [layer.n, 1, 1], np.int64))
    graph.is_sequence = True


def _flatten(graph: _Graph, layer: layers.Flatten) -> None:
    if graph.is_sequence:
        graph.then("Transpose", f"{layer.name}.batch_major", perm=[1, 0, 2])
        graph.then("Flatten", layer.name)
    graph.is_sequence = False


def _nothing(graph: _Graph, layer: keras.layers.Layer) -> None:
    """Dropout and penalties act only while training."""


_ACTIVATIONS = {"linear": None, "relu": "Relu", "tanh": "Tanh"}
_WRITERS: dict[type[Any], Callable[[_Graph, Any], None]] = {
    layers.SimpleRNN: _rnn,
    layers.GRU: _gru,
    layers.LSTM: _lstm,
    layers.Dense: _dense,
    layers.RepeatVector: _repeat,
    layers.Flatten: _flatten,
    layers.ActivityRegularization: _nothing,
    layers.Dropout: _nothing,
}
