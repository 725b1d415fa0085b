"""The GPU engine, wherever Keras runs: the saved network says what its ONNX twin says, whatever the padding."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app import forecaster
from app.artifact import store
from app.artifact.store import Artifact
from app.engines.base import F32
from app.engines.onnx import OnnxEngine
from app.errors import ArtifactError
from tests.app.artifact.test_store import place, reseal

if TYPE_CHECKING:
    from app.engines.keras import KerasEngine

pytestmark = [
    pytest.mark.slow,
    # Keras asks numpy for the values of a TensorFlow variable in a way that numpy 2 would have spelt otherwise.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def keras() -> Any:
    """Keras, imported only when these tests run."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at import, TensorFlow warns of the deprecations in what it imports itself
        import keras

    return keras


@pytest.fixture(scope="module")
def artifact(shipped: Path) -> Artifact:
    return store.read(place(shipped, "default"))


@pytest.fixture(scope="module")
def engine(keras: Any, artifact: Artifact) -> "KerasEngine":
    from app.engines.keras import KerasEngine

    return KerasEngine(artifact.keras)


def inputs_for(engine: "KerasEngine", rows: int) -> F32:
    spread = np.logspace(-3, 0.5, rows)[:, None, None]
    return np.random.default_rng(rows).normal(0, spread, (rows, *engine.steps_and_features)).astype(np.float32)


def test_an_engine_says_what_it_is_and_takes(engine: "KerasEngine", artifact: Artifact) -> None:
    assert engine.name == "keras"
    assert engine.lanes == 1
    assert engine.steps_and_features == (artifact.transform.steps(artifact.manifest.window), 1)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 64, 65, 512, 513, 1100])
def test_both_engines_agree(engine: "KerasEngine", artifact: Artifact, rows: int) -> None:
    inputs = inputs_for(engine, rows)
    outputs = engine.run(inputs)
    assert outputs.shape == (rows, artifact.manifest.horizon * len(artifact.manifest.quantiles))
    np.testing.assert_allclose(outputs, OnnxEngine(artifact.onnx).run(inputs), rtol=1e-5, atol=1e-5)


def test_a_row_gets_the_same_answer_whatever_it_is_padded_to(engine: "KerasEngine") -> None:
    inputs = inputs_for(engine, 600)
    everything = engine.run(inputs)
    for rows in (1, 5, 8, 30, 64, 100, 512):
        np.testing.assert_allclose(engine.run(inputs[:rows]), everything[:rows], rtol=1e-5, atol=1e-5)


def test_only_the_sizes_asked_for_are_ever_computed(
    engine: "KerasEngine", artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.engines.keras import KerasEngine

    small = KerasEngine(artifact.keras, sizes=(2, 3))
    computed: list[int] = []
    predict = small._model.predict_on_batch

    def counted(padded: F32) -> object:
        computed.append(len(padded))
        return predict(padded)

    monkeypatch.setattr(small._model, "predict_on_batch", counted)
    inputs = inputs_for(small, 8)
    np.testing.assert_allclose(small.run(inputs), engine.run(inputs), rtol=1e-5, atol=1e-5)
    assert computed == [3, 3, 2]
    small.run(inputs[:1])
    assert computed == [3, 3, 2, 2]


@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_a_shipped_model_says_through_keras_what_was_published(shipped: Path, name: str) -> None:
    loaded = forecaster.load(store.read(place(shipped, name)), "keras")
    assert loaded.engine.name == "keras"


def refused(path: Path) -> ArtifactError:
    """The error with which the resealed artifact in `path` is refused."""
    reseal(path)
    with pytest.raises(ArtifactError) as caught:
        forecaster.load(store.read(path), "keras")
    assert caught.value.path == path / "model.keras"
    return caught.value


@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_a_broken_network_is_refused_without_telling_where_it_lies(models: Path, content: bytes) -> None:
    path = place(models, "default")
    (path / "model.keras").write_bytes(content)
    error = refused(path)
    assert error.reason.startswith("the network cannot be loaded: ")
    assert str(models) not in error.reason


def test_a_network_with_code_in_it_is_refused(keras: Any, models: Path, artifact: Artifact) -> None:
    steps = artifact.transform.steps(artifact.manifest.window)
    path = place(models, "default")
    keras.Sequential([keras.Input((steps, 1)), keras.layers.Lambda(lambda x: x)]).save(path / "model.keras")
    reason = refused(path).reason
    assert "the network cannot be loaded" in reason
    assert "Lambda" in reason


def test_a_network_of_another_shape_is_refused(keras: Any, models: Path, artifact: Artifact) -> None:
    window, steps = artifact.manifest.window, artifact.transform.steps(artifact.manifest.window)
    path = place(models, "default")
    keras.Sequential([keras.Input((steps + 1, 1)), keras.layers.LSTM(2)]).save(path / "model.keras")
    expected = f"the network takes {steps + 1} steps of 1; a window of {window} gives {steps} of 1"
    assert refused(path).reason == expected


def test_a_network_that_says_something_else_is_refused(keras: Any, models: Path) -> None:
    path = place(models, "default")
    network = keras.saving.load_model(path / "model.keras", compile=False)
    network.set_weights([weights * 1.01 for weights in network.get_weights()])
    network.save(path / "model.keras")
    assert "the golden forecasts are not met: they differ by " in refused(path).reason
