"""The cost of a model on a device: arithmetic and transfers."""

from dataclasses import dataclass
from itertools import pairwise

from app.artifact.store import Artifact


@dataclass(frozen=True)
class ModelCost:
    """Cost of a model in float32.

    Attributes:
        flops_per_window: Floating-point operations per window.
        bytes_per_window: Size of a window's inputs and outputs.
        bytes_per_call: Size of the weights, which a call reads once.
    """

    flops_per_window: int
    bytes_per_window: int
    bytes_per_call: int

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "ModelCost":
        """Compute the cost of an artifact's LSTM and dense layers.

        Only matrix products count. The element-wise operations of the gates are about a hundredth of them.
        """
        manifest = artifact.manifest
        steps, features = artifact.transform.input_shape(manifest.window)
        outputs = manifest.horizon * len(manifest.quantiles)
        recurrent = [features, *manifest.network.units]
        dense = [recurrent[-1], *filter(None, [manifest.network.head]), outputs]
        recurrent_weights = sum(4 * units * (inputs + units) for inputs, units in pairwise(recurrent))
        dense_weights = sum(inputs * units for inputs, units in pairwise(dense))
        return cls(
            flops_per_window=2 * (steps * recurrent_weights + dense_weights),
            bytes_per_window=4 * (steps * features + outputs),
            bytes_per_call=4 * manifest.network.parameters,
        )
