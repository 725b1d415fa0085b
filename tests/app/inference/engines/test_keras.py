"""The Keras engine, on the available device: it agrees with ONNX Runtime, and padding has no effect."""

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
from app.artifact.arrays import F32
from app.artifact.store import Artifact
from app.errors import ArtifactError
from app.inference.engines.onnx import OnnxEngine
from app.inference.forecaster import load_forecaster
from tests.app.artifact.artifact_files import current_path, reseal_manifest
from tests.conftest import ROOT

if TYPE_CHECKING:
    from app.inference.engines.keras import KerasEngine

pytestmark = [
    pytest.mark.slow,
    # Keras reads TensorFlow variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def keras() -> Any:
    """Import Keras, only when these tests run."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing TensorFlow raises deprecation warnings of its own dependencies
        import keras

    return keras


@pytest.fixture(scope="module")
def artifact(shipped: Path) -> Artifact:
    return store.read_artifact(current_path(shipped, "default"))


@pytest.fixture(scope="module")
def engine(keras: Any, artifact: Artifact) -> "KerasEngine":
    from app.inference.engines.keras import KerasEngine

    return KerasEngine(artifact.keras)


def random_inputs(engine: "KerasEngine", rows: int) -> F32:
    spread = np.logspace(-3, 0.5, rows)[:, None, None]
    return np.random.default_rng(rows).normal(0, spread, (rows, *engine.steps_and_features)).astype(np.float32)


def test_keras_engine_reports_name_and_shape(engine: "KerasEngine", artifact: Artifact) -> None:
    assert engine.name == "keras"
    assert engine.concurrent_calls == 2
    assert engine.steps_and_features == artifact.transform.input_shape(artifact.manifest.window)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 64, 65, 512, 513, 4096, 4500])
def test_keras_and_onnx_engines_agree(engine: "KerasEngine", artifact: Artifact, rows: int) -> None:
    inputs = random_inputs(engine, rows)
    outputs = engine.run(inputs)
    assert outputs.shape == (rows, artifact.manifest.horizon * len(artifact.manifest.quantiles))
    np.testing.assert_allclose(outputs, OnnxEngine(artifact.onnx).run(inputs), rtol=1e-5, atol=1e-5)


def test_run_outputs_do_not_depend_on_padding(engine: "KerasEngine") -> None:
    inputs = random_inputs(engine, 600)
    everything = engine.run(inputs)
    for rows in (1, 5, 8, 30, 64, 100, 512):
        np.testing.assert_allclose(engine.run(inputs[:rows]), everything[:rows], rtol=1e-5, atol=1e-5)


def test_run_uses_only_sizes_compiled_at_start(
    engine: "KerasEngine", artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.inference.engines import keras as module

    computed: list[int] = []
    compile_network = module.compile_network

    def compile_recording(network: object, backend: ModuleType) -> Callable[[F32], object]:
        run = compile_network(network, backend)

        def record(inputs: F32) -> object:
            computed.append(len(inputs))
            return run(inputs)

        return record

    monkeypatch.setattr(module, "compile_network", compile_recording)
    small = module.KerasEngine(artifact.keras, sizes=(2, 3))
    assert set(computed) == {2, 3}
    computed.clear()
    inputs = random_inputs(small, 8)
    np.testing.assert_allclose(small.run(inputs), engine.run(inputs), rtol=1e-5, atol=1e-5)
    assert computed == [3, 3, 2]
    small.run(inputs[:1])
    assert computed == [3, 3, 2, 2]


def test_run_starts_all_pieces_before_waiting(keras: Any, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.inference.engines.keras import KerasEngine

    small = KerasEngine(artifact.keras, sizes=(4,))
    events: list[str] = []
    run, fetch = small._network, keras.ops.convert_to_numpy

    def record_run(inputs: F32) -> object:
        events.append("started")
        return run(inputs)

    def record_fetch(outputs: object) -> object:
        events.append("fetched")
        return fetch(outputs)

    monkeypatch.setattr(small, "_network", record_run)
    monkeypatch.setattr(keras.ops, "convert_to_numpy", record_fetch)
    small.run(random_inputs(small, 10))
    assert events == ["started"] * 3 + ["fetched"] * 3


def test_run_concurrent_calls_agree(engine: "KerasEngine") -> None:
    inputs = random_inputs(engine, 600)
    everything = engine.run(inputs)
    barrier = threading.Barrier(engine.concurrent_calls)

    def run(rows: int) -> F32:
        barrier.wait()
        return engine.run(inputs[:rows])

    with ThreadPoolExecutor(engine.concurrent_calls) as threads:
        for one, other in [(1, 600), (65, 65), (64, 9), (512, 8)]:
            for outputs in threads.map(run, (one, other)):
                np.testing.assert_allclose(outputs, everything[: len(outputs)], rtol=1e-5, atol=1e-5)


def test_run_does_not_change_inputs(engine: "KerasEngine") -> None:
    inputs = random_inputs(engine, 9)
    before = inputs.copy()
    engine.run(inputs)
    np.testing.assert_array_equal(inputs, before)


GPU_COST_S = {1: 1.0, 8: 1.1, 64: 1.2, 512: 1.3}  # depends little on the number of rows
CPU_COST_S = {1: 1.0, 8: 8.0, 64: 64.0, 512: 512.0}  # grows with every row


@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize(
    ("rows", "on_gpu", "on_cpu"),
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
def test_plan_pieces_minimizes_cost(rows: int, on_gpu: tuple[int, ...], on_cpu: tuple[int, ...]) -> None:
    from app.inference.engines.keras import plan_pieces

    assert plan_pieces(rows, GPU_COST_S) == on_gpu
    assert plan_pieces(rows, CPU_COST_S) == on_cpu


costs = st.floats(1e-6, 10)


@pytest.mark.usefixtures("keras")
@given(rows=st.integers(1, 2000), cost_s=st.dictionaries(st.sampled_from([1, 2, 8, 64, 100, 512]), costs, min_size=1))
def test_plan_pieces_pads_only_last_piece(rows: int, cost_s: dict[int, float]) -> None:
    from app.inference.engines.keras import plan_pieces

    sizes = plan_pieces(rows, cost_s)
    assert set(sizes) <= set(cost_s)
    assert sum(sizes[:-1]) < rows <= sum(sizes)


class FakeBackend(SimpleNamespace):
    """A backend library that marks what it compiles and records its precision settings."""

    def __init__(self, name: str) -> None:
        super().__init__(__name__=name, settings={})
        self.jit = self.function = self._wrap
        self.inference_mode = lambda: self._wrap
        matmul, cudnn = SimpleNamespace(allow_tf32=True), SimpleNamespace(allow_tf32=True)
        self.backends = SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn)
        experimental = SimpleNamespace(enable_tensor_float_32_execution=lambda on: self.settings.update(tensorflow=on))
        self.config = SimpleNamespace(
            experimental=experimental, update=lambda key, value: self.settings.update({key: value})
        )

    def _wrap(self, forward: Callable[[str], str]) -> Callable[[str], str]:
        return lambda inputs: f"compiled {forward(inputs)}"


@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize(
    ("name", "settings", "torch_uses_tf32"),
    [
        ("jax", {"jax_default_matmul_precision": "highest"}, True),
        ("tensorflow", {"tensorflow": False}, True),
        ("torch", {}, False),
    ],
)
def test_compile_network_uses_full_precision_on_each_backend(
    name: str, settings: dict[str, object], torch_uses_tf32: bool
) -> None:
    from app.inference.engines.keras import compile_network

    backend = FakeBackend(name)
    run = compile_network(lambda inputs, training: f"{inputs} {training}", cast("ModuleType", backend))
    assert run(cast("F32", "rows")) == "compiled rows False"
    assert backend.settings == settings
    assert backend.backends.cuda.matmul.allow_tf32 is backend.backends.cudnn.allow_tf32 is torch_uses_tf32


@pytest.mark.usefixtures("keras")
def test_compile_network_unknown_backend_is_rejected() -> None:
    from app.inference.engines.keras import compile_network

    with pytest.raises(ValueError, match="Keras backend 'openvino' is not supported; set KERAS_BACKEND to jax, "):
        compile_network(lambda inputs, training: inputs, ModuleType("openvino"))


@pytest.mark.usefixtures("keras")
def test_keras_device_is_known() -> None:
    from app.inference.engines.select import _keras_device

    assert any(word in _keras_device().lower() for word in ("cpu", "gpu", "cuda"))


@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_load_forecaster_on_keras_reproduces_golden(shipped: Path, name: str) -> None:
    loaded = load_forecaster(store.read_artifact(current_path(shipped, name)), "keras")
    assert loaded.engine.name == "keras"


def load_error(path: Path) -> ArtifactError:
    """Reseal the artifact in `path`, and return the error that loading it raises."""
    reseal_manifest(path)
    with pytest.raises(ArtifactError) as caught:
        load_forecaster(store.read_artifact(path), "keras")
    assert caught.value.path == path / "model.keras"
    return caught.value


@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_load_forecaster_broken_network_hides_its_path(models: Path, content: bytes) -> None:
    path = current_path(models, "default")
    (path / "model.keras").write_bytes(content)
    error = load_error(path)
    assert error.reason.startswith("the network cannot be loaded: ")
    assert str(models) not in error.reason


def test_load_forecaster_network_with_code_is_rejected(keras: Any, models: Path, artifact: Artifact) -> None:
    shape = artifact.transform.input_shape(artifact.manifest.window)
    path = current_path(models, "default")
    keras.Sequential([keras.Input(shape), keras.layers.Lambda(lambda x: x)]).save(path / "model.keras")
    reason = load_error(path).reason
    assert "the network cannot be loaded" in reason
    assert "Lambda" in reason


def test_load_forecaster_mismatched_shape_is_rejected(keras: Any, models: Path, artifact: Artifact) -> None:
    window = artifact.manifest.window
    steps, features = artifact.transform.input_shape(window)
    path = current_path(models, "default")
    keras.Sequential([keras.Input((steps + 1, features)), keras.layers.LSTM(2)]).save(path / "model.keras")
    expected = (
        f"the network takes {steps + 1} steps of {features} features; "
        f"a window of {window} prices is encoded as {steps} steps of {features}"
    )
    assert load_error(path).reason == expected


def test_load_forecaster_mismatched_keras_weights_are_rejected(keras: Any, models: Path) -> None:
    path = current_path(models, "default")
    network = keras.saving.load_model(path / "model.keras", compile=False)
    network.set_weights([weights * 1.01 for weights in network.get_weights()])
    network.save(path / "model.keras")
    assert "the golden forecasts are not reproduced: they differ by " in load_error(path).reason


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_this_file_passes_on_another_backend(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; it needs hundreds of megabytes")
    environment = os.environ | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not another_backend", __file__]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
