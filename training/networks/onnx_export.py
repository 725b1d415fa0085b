"""Exports Keras networks to ONNX, using the recurrent operators that ONNX Runtime runs as fused kernels."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from app.artifact.arrays import F64

OPSET = 17  # supported by all recent runtimes, and sufficient for every operator used here

_UNSUPPORTED_OPTIONS = ("go_backwards", "stateful", "return_state")  # options of recurrent layers


class ExportError(Exception):
    """A layer that cannot be exported. The message names the layer."""


class _GraphBuilder:
    """Collects the nodes and weights of an ONNX graph.

    Attributes:
        nodes: The nodes in the order of execution.
        weights: The constants.
        current_value: The name of the value that the next node reads.
        is_sequence: Whether the shape of this value is (T, B, F), as ONNX's recurrent operators require, or (B, F).
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.current_value = "window"
        self.is_sequence = True

    def add_weight(self, name: str, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant and return its name."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def add_node(
        self, operator: str, name: str, *inputs: str, outputs: tuple[str, ...] | None = None, **attributes: Any
    ) -> None:
        """Append a node that reads the current value and `inputs`. Its last output becomes the current value."""
        outputs = outputs or (name,)
        self.nodes.append(
            helper.make_node(operator, [self.current_value, *inputs], list(outputs), name=name, **attributes)
        )
        self.current_value = outputs[-1]


def to_onnx(network: keras.Model) -> bytes:
    """Export the network as a serialized ONNX model with a dynamic batch size B.

    Its input `window` has the shape (B, T, F), and its output `outputs` has the shape (B, H·Q).

    Raises:
        ExportError: A layer or one of its options is not supported.
    """
    graph = _GraphBuilder()
    _, steps, features = network.input_shape
    graph.add_node("Transpose", "time_major", perm=[1, 0, 2])
    for layer in network.layers:
        add_layer = _EXPORTERS.get(type(layer))
        if add_layer is None:
            raise ExportError(f"{layer.name}: cannot export a {type(layer).__name__} layer to ONNX")
        add_layer(graph, layer)
    graph.add_node("Identity", "outputs")
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
    model.ir_version = 8  # the IR version that was released with opset 17
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _add_rnn(graph: _GraphBuilder, layer: layers.SimpleRNN) -> None:
    activation = layer.get_config()["activation"]
    if _has_unsupported_option(layer) or activation not in ("tanh", "relu"):
        raise _unsupported_recurrent(layer, "tanh or relu")
    kernel, recurrent, bias = _weights(layer, 1)
    bias = np.concatenate([bias, np.zeros(layer.units)])
    operator = {"tanh": "Tanh", "relu": "Relu"}[activation]
    _add_recurrent(graph, layer, "RNN", kernel.T, recurrent.T, bias, activations=[operator])


def _add_gru(graph: _GraphBuilder, layer: layers.GRU) -> None:
    """Add a GRU layer. Keras and ONNX order the gates the same way: update, reset, candidate."""
    config = layer.get_config()
    if _has_unsupported_option(layer) or (config["activation"], config["recurrent_activation"]) != ("tanh", "sigmoid"):
        raise _unsupported_recurrent(layer, "tanh and sigmoid")
    kernel, recurrent, bias = _weights(layer, 3)
    # With reset_after, the bias has an input part and a recurrent part. Without it, the recurrent part is 0.
    biases = np.concatenate([bias.reshape(-1), np.zeros(3 * layer.units)])[: 6 * layer.units]
    _add_recurrent(graph, layer, "GRU", kernel.T, recurrent.T, biases, linear_before_reset=int(config["reset_after"]))


def _add_lstm(graph: _GraphBuilder, layer: layers.LSTM) -> None:
    """Add an LSTM layer. Keras orders the gates input, forget, cell, output; ONNX input, output, forget, cell."""
    config = layer.get_config()
    if _has_unsupported_option(layer) or (config["activation"], config["recurrent_activation"]) != ("tanh", "sigmoid"):
        raise _unsupported_recurrent(layer, "tanh and sigmoid")

    def to_onnx_order(weights: F64) -> F64:  # (…, 4·U) to (4·U, …)
        i, f, c, o = np.split(weights, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1).T

    kernel, recurrent, bias = map(to_onnx_order, _weights(layer, 4))
    _add_recurrent(graph, layer, "LSTM", kernel, recurrent, np.concatenate([bias, np.zeros(4 * layer.units)]))


def _has_unsupported_option(layer: layers.RNN) -> bool:
    config = layer.get_config()
    return any(config[key] for key in _UNSUPPORTED_OPTIONS)


def _unsupported_recurrent(layer: layers.RNN, activations: str) -> ExportError:
    requirements = f"it must use {activations} and none of {', '.join(_UNSUPPORTED_OPTIONS)}"
    return ExportError(f"{layer.name}: cannot export this {type(layer).__name__} layer; {requirements}")


def _weights(layer: layers.RNN, gates: int) -> list[F64]:
    """Return the weights of a recurrent layer with G gates and U units.

    Returns:
        The (F, G·U) kernel, the (U, G·U) recurrent kernel, and the (G·U,) bias, which is 0 if the layer has none. A GRU
        with `reset_after` has a (2, G·U) bias.
    """
    return [np.asarray(each) for each in (*layer.get_weights(), np.zeros(gates * layer.units))][:3]


def _add_recurrent(
    graph: _GraphBuilder, layer: layers.RNN, operator: str, kernel: F64, recurrent: F64, bias: F64, **attributes: Any
) -> None:
    """Add a recurrent operator with a (G·U, F) kernel, a (G·U, U) recurrent kernel and a (2·G·U,) bias."""
    name = layer.name
    sequence, final = f"{name}.every", f"{name}.final"
    graph.add_node(
        operator,
        name,
        graph.add_weight(f"{name}.kernel", kernel[None]),
        graph.add_weight(f"{name}.recurrent", recurrent[None]),
        graph.add_weight(f"{name}.bias", bias[None]),
        outputs=("", final) if not layer.return_sequences else (sequence,),
        hidden_size=layer.units,
        **attributes,
    )
    axis = 1 if layer.return_sequences else 0  # the direction, in (T, 1, B, U) or (1, B, U)
    graph.add_node("Squeeze", f"{name}.flat", graph.add_weight(f"{name}.axis", [axis], np.int64))
    graph.is_sequence = layer.return_sequences


def _add_dense(graph: _GraphBuilder, layer: layers.Dense) -> None:
    activation = layer.get_config()["activation"]
    if activation not in _ACTIVATIONS:
        raise ExportError(f"{layer.name}: cannot export this Dense layer; it must be linear or use relu or tanh")
    kernel, bias = (*layer.get_weights(), np.zeros(layer.units))[:2]
    name = layer.name
    if graph.is_sequence:
        graph.add_node("MatMul", f"{name}.product", graph.add_weight(f"{name}.kernel", kernel))
        graph.add_node("Add", name, graph.add_weight(f"{name}.bias", bias))
    else:
        graph.add_node("Gemm", name, graph.add_weight(f"{name}.kernel", kernel), graph.add_weight(f"{name}.bias", bias))
    if operator := _ACTIVATIONS[activation]:
        graph.add_node(operator, f"{name}.{activation}")


def _add_repeat(graph: _GraphBuilder, layer: layers.RepeatVector) -> None:
    name = layer.name
    graph.add_node("Unsqueeze", f"{name}.once", graph.add_weight(f"{name}.axis", [0], np.int64))
    graph.add_node("Expand", name, graph.add_weight(f"{name}.shape", [layer.n, 1, 1], np.int64))
    graph.is_sequence = True


def _add_flatten(graph: _GraphBuilder, layer: layers.Flatten) -> None:
    if graph.is_sequence:
        graph.add_node("Transpose", f"{layer.name}.batch_major", perm=[1, 0, 2])
        graph.add_node("Flatten", layer.name)
    graph.is_sequence = False


def _skip(graph: _GraphBuilder, layer: keras.layers.Layer) -> None:
    """Add nothing, because dropout and penalties act only during training."""


_ACTIVATIONS = {"linear": None, "relu": "Relu", "tanh": "Tanh"}
_EXPORTERS: dict[type[Any], Callable[[_GraphBuilder, Any], None]] = {
    layers.SimpleRNN: _add_rnn,
    layers.GRU: _add_gru,
    layers.LSTM: _add_lstm,
    layers.Dense: _add_dense,
    layers.RepeatVector: _add_repeat,
    layers.Flatten: _add_flatten,
    layers.ActivityRegularization: _skip,
    layers.Dropout: _skip,
}
