"""The GPU engine, wherever Keras runs: the saved network says what its ONNX twin says, whatever the padding."""

import importlib.util
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifact import store
from app.artifact.store import Artifact
from app.errors import ArtifactError
from app.inference import forecaster
from app.inference.engines.base import F32
from app.inference.engines.onnx import OnnxEngine
from tests.app.artifact.test_store import place, reseal
from tests.server_process import ROOT

if TYPE_CHECKING:
    from app.inference.engines.keras import KerasEngine

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
    from app.inference.engines.keras import KerasEngine

    return KerasEngine(artifact.keras)


def inputs_for(engine: "KerasEngine", rows: int) -> F32:
    spread = np.logspace(-3, 0.5, rows)[:, None, None]
    return np.random.default_rng(rows).normal(0, spread, (rows, *engine.steps_and_features)).astype(np.float32)


def test_an_engine_says_what_it_is_and_takes(engine: "KerasEngine", artifact: Artifact) -> None:
    assert engine.name == "keras"
    assert engine.concurrent_calls == 2
    assert engine.steps_and_features == artifact.transform.shape(artifact.manifest.window)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 64, 65, 512, 513, 4096, 4500])
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


def test_only_the_sizes_asked_for_are_ever_computed_and_all_are_before_the_first_call(
    engine: "KerasEngine", artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.inference.engines import keras as module

    computed: list[int] = []
    really = module.compiled

    def counted(network: object, library: ModuleType) -> Callable[[F32], object]:
        run = really(network, library)

        def count(inputs: F32) -> object:
            computed.append(len(inputs))
            return run(inputs)

        return count

    monkeypatch.setattr(module, "compiled", counted)
    small = module.KerasEngine(artifact.keras, sizes=(2, 3))
    assert set(computed) == {2, 3}
    computed.clear()
    inputs = inputs_for(small, 8)
    np.testing.assert_allclose(small.run(inputs), engine.run(inputs), rtol=1e-5, atol=1e-5)
    assert computed == [3, 3, 2]
    small.run(inputs[:1])
    assert computed == [3, 3, 2, 2]


def test_all_pieces_are_under_way_before_the_first_answer_is_waited_for(
    keras: Any, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.inference.engines.keras import KerasEngine

    small = KerasEngine(artifact.keras, sizes=(4,))
    happened: list[str] = []
    run, fetch = small._network, keras.ops.convert_to_numpy

    def told_run(inputs: F32) -> object:
        happened.append("started")
        return run(inputs)

    def told_fetch(answer: object) -> object:
        happened.append("fetched")
        return fetch(answer)

    monkeypatch.setattr(small, "_network", told_run)
    monkeypatch.setattr(keras.ops, "convert_to_numpy", told_fetch)
    small.run(inputs_for(small, 10))
    assert happened == ["started"] * 3 + ["fetched"] * 3


def test_lanes_may_be_used_at_once(engine: "KerasEngine") -> None:
    inputs = inputs_for(engine, 600)
    everything = engine.run(inputs)
    together = threading.Barrier(engine.concurrent_calls)

    def run(rows: int) -> F32:
        together.wait()
        return engine.run(inputs[:rows])

    with ThreadPoolExecutor(engine.concurrent_calls) as concurrent_calls:
        for one, other in [(1, 600), (65, 65), (64, 9), (512, 8)]:
            for answer in concurrent_calls.map(run, (one, other)):
                np.testing.assert_allclose(answer, everything[: len(answer)], rtol=1e-5, atol=1e-5)


def test_the_inputs_are_left_as_they_were(engine: "KerasEngine") -> None:
    inputs = inputs_for(engine, 9)
    before = inputs.copy()
    engine.run(inputs)
    np.testing.assert_array_equal(inputs, before)


FLAT = {1: 1.0, 8: 1.1, 64: 1.2, 512: 1.3}  # like a GPU: a call costs what its steps cost
LINEAR = {1: 1.0, 8: 8.0, 64: 64.0, 512: 512.0}  # like a CPU: every row costs


@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize(
    ("rows", "flat", "linear"),
    [
        (1, (1,), (1,)),
        (2, (8,), (1, 1)),
        (8, (8,), (8,)),
        (9, (64,), (8, 1)),
        (65, (512,), (64, 1)),
        (511, (512,), (64,) * 7 + (8,) * 7 + (1,) * 7),
        (600, (512, 512), (512, 64, 8, 8, 8)),
        (1100, (512, 512, 512), (512, 512, 64, 8, 1, 1, 1, 1)),
    ],
)
def test_a_batch_is_cut_as_costs_least(rows: int, flat: tuple[int, ...], linear: tuple[int, ...]) -> None:
    from app.inference.engines.keras import pieces

    assert pieces(rows, FLAT) == flat
    assert pieces(rows, LINEAR) == linear


costs = st.floats(1e-6, 10)


@pytest.mark.usefixtures("keras")
@given(rows=st.integers(1, 2000), cost_s=st.dictionaries(st.sampled_from([1, 2, 8, 64, 100, 512]), costs, min_size=1))
def test_the_pieces_hold_every_row_and_only_the_last_is_padded(rows: int, cost_s: dict[int, float]) -> None:
    from app.inference.engines.keras import pieces

    cut = pieces(rows, cost_s)
    assert set(cut) <= set(cost_s)
    assert sum(cut[:-1]) < rows <= sum(cut)


class FakeBackend(SimpleNamespace):
    """A backend library that wraps what it is to compile, and keeps what it is told about precision."""

    def __init__(self, name: str) -> None:
        super().__init__(__name__=name, told={})
        self.jit = self.function = self._wrap
        self.inference_mode = lambda: self._wrap
        matmul, cudnn = SimpleNamespace(allow_tf32=True), SimpleNamespace(allow_tf32=True)
        self.backends = SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn)
        experimental = SimpleNamespace(enable_tensor_float_32_execution=lambda on: self.told.update(tensorflow=on))
        self.config = SimpleNamespace(
            experimental=experimental, update=lambda key, value: self.told.update({key: value})
        )

    def _wrap(self, forward: Callable[[str], str]) -> Callable[[str], str]:
        return lambda inputs: f"compiled {forward(inputs)}"


@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize(
    ("name", "told", "torch_rounds"),
    [
        ("jax", {"jax_default_matmul_precision": "highest"}, True),
        ("tensorflow", {"tensorflow": False}, True),
        ("torch", {}, False),
    ],
)
def test_each_backend_compiles_for_inference_and_computes_in_full(
    name: str, told: dict[str, object], torch_rounds: bool
) -> None:
    from app.inference.engines.keras import compiled

    library = FakeBackend(name)
    run = compiled(lambda inputs, training: f"{inputs} {training}", cast("ModuleType", library))
    assert run(cast("F32", "rows")) == "compiled rows False"
    assert library.told == told
    assert library.backends.cuda.matmul.allow_tf32 is library.backends.cudnn.allow_tf32 is torch_rounds


@pytest.mark.usefixtures("keras")
def test_an_unknown_backend_is_refused() -> None:
    from app.inference.engines.keras import compiled

    with pytest.raises(ValueError, match="no engine for Keras's backend 'openvino'; KERAS_BACKEND may be jax, "):
        compiled(lambda inputs, training: inputs, ModuleType("openvino"))


@pytest.mark.usefixtures("keras")
def test_the_device_is_said() -> None:
    from app.inference.engines.select import _device

    assert any(word in _device().lower() for word in ("cpu", "gpu", "cuda"))


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
    shape = artifact.transform.shape(artifact.manifest.window)
    path = place(models, "default")
    keras.Sequential([keras.Input(shape), keras.layers.Lambda(lambda x: x)]).save(path / "model.keras")
    reason = refused(path).reason
    assert "the network cannot be loaded" in reason
    assert "Lambda" in reason


def test_a_network_of_another_shape_is_refused(keras: Any, models: Path, artifact: Artifact) -> None:
    window = artifact.manifest.window
    steps, features = artifact.transform.shape(window)
    path = place(models, "default")
    keras.Sequential([keras.Input((steps + 1, features)), keras.layers.LSTM(2)]).save(path / "model.keras")
    expected = f"the network takes {steps + 1} steps of {features}; a window of {window} gives {steps} of {features}"
    assert refused(path).reason == expected


def test_a_network_that_says_something_else_is_refused(keras: Any, models: Path) -> None:
    path = place(models, "default")
    network = keras.saving.load_model(path / "model.keras", compile=False)
    network.set_weights([weights * 1.01 for weights in network.get_weights()])
    network.save(path / "model.keras")
    assert "the golden forecasts are not met: they differ by " in refused(path).reason


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_all_of_this_holds_on_another_backend(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: it would make the installation hundreds of megabytes larger")
    environment = os.environ | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not another_backend", __file__]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
