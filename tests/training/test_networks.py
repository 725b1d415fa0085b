"""Networks: the shapes a recipe asks for, where they start from, and what they are scored by."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from app.artifact.transform import F64
from training import metrics
from training.networks import Pinball, bare, build
from training.recipe import Network, load


def lstm_parameters(inputs: int, units: int) -> int:
    """Four gates, each with weights of the input, of its own state, and a bias."""
    return 4 * (inputs * units + units * units + units)


@pytest.mark.parametrize("units", [[3], [5, 2], [2, 3, 4]])
@pytest.mark.parametrize("outputs", [1, 6])
@pytest.mark.parametrize("features", [1, 2])
def test_a_network_has_the_shapes_it_was_asked_for(units: list[int], outputs: int, features: int) -> None:
    network = build(Network(units=units), (7, features), outputs)
    assert network.input_shape == (None, 7, features)
    assert network.output_shape == (None, outputs)
    recurrent = [layer for layer in network.layers if isinstance(layer, layers.LSTM)]
    assert [layer.units for layer in recurrent] == units
    assert [layer.return_sequences for layer in recurrent] == [True] * (len(units) - 1) + [False]
    expected = sum(lstm_parameters(before, after) for before, after in zip([features, *units], units, strict=False))
    assert network.count_params() == expected + (units[-1] + 1) * outputs
    assert np.asarray(network(np.zeros((4, 7, features), dtype=np.float32))).shape == (4, outputs)


def test_the_tutorials_network_has_as_many_parameters_as_the_tutorials() -> None:
    tutorial = load("tutorial")
    network = build(tutorial.network, (tutorial.window, 1), 1)
    assert network.count_params() == lstm_parameters(1, 50) + 3 * lstm_parameters(50, 50) + 51 == 71_051
    assert network.input_shape == (None, 60, 1)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "Dropout"] * 4 + ["Dense"]
    assert {layer.rate for layer in network.layers if isinstance(layer, layers.Dropout)} == {0.2}


def test_without_dropout_there_is_no_dropout_layer() -> None:
    network = build(Network(units=[2, 2]), (5, 1), 1)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "LSTM", "Dense"]


def test_a_head_is_one_rectified_layer_before_the_outputs() -> None:
    network = build(Network(units=[4, 3], dropout=0.1, head=5), (6, 2), 7)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "Dropout"] * 2 + ["Dense", "Dense"]
    head, outputs = network.layers[-2:]
    assert (head.units, head.get_config()["activation"]) == (5, "relu")
    assert (outputs.units, outputs.get_config()["activation"]) == (7, "linear")
    expected = lstm_parameters(2, 4) + lstm_parameters(4, 3) + (3 + 1) * 5 + (5 + 1) * 7
    assert network.count_params() == expected


@pytest.mark.parametrize("head", [0, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_an_untrained_network_answers_what_it_starts_at_whatever_it_sees(dropout: float, head: int) -> None:
    start_at = np.array([-1.3, -0.25, 0.0, 0.1, 2.7])
    network = build(Network(units=[4, 3], dropout=dropout, head=head), (6, 1), 5, start_at)
    inputs = np.random.default_rng(1).normal(0, 5, (20, 6, 1)).astype(np.float32)
    for training in (False, True):
        outputs = np.asarray(network(inputs, training=training))
        assert (outputs == start_at.astype(np.float32)).all()


def test_drawn_at_random_two_networks_differ_and_a_seed_repeats_one() -> None:
    inputs = np.ones((1, 6, 1), dtype=np.float32)
    answers = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        answers.append(float(np.asarray(build(Network(units=[3]), (6, 1), 1)(inputs))[0, 0]))
    assert answers[0] == answers[1] != answers[2]


def test_dropout_acts_only_while_training() -> None:
    network = build(Network(units=[30], dropout=0.5), (6, 1), 1)
    inputs = np.random.default_rng(1).normal(size=(1, 6, 1)).astype(np.float32)
    calm = [float(np.asarray(network(inputs))[0, 0]) for _ in range(3)]
    shaken = [float(np.asarray(network(inputs, training=True))[0, 0]) for _ in range(3)]
    assert len(set(calm)) == 1
    assert len(set(shaken)) > 1


# Pinball loss


def both_ways(outcomes: F64, quantiles: F64, taus: list[float]) -> tuple[float, float]:
    """The loss in Keras, and as the mean over the horizons of the plain figure."""
    flat = quantiles.reshape(len(quantiles), -1).astype(np.float32)
    ours = float(np.asarray(Pinball(taus)(outcomes.astype(np.float32), flat)))
    plain = [metrics.pinball(quantiles[:, h], outcomes[:, h], taus) for h in range(outcomes.shape[1])]
    return ours, float(np.mean(plain))


@pytest.mark.parametrize("taus", [[0.5], [0.1, 0.5, 0.9], [0.025, 0.1, 0.5, 0.9, 0.975]])
@pytest.mark.parametrize("horizon", [1, 4])
def test_the_loss_is_the_pinball_figure(taus: list[float], horizon: int) -> None:
    rng = np.random.default_rng(2)
    ours, plain = both_ways(rng.normal(size=(33, horizon)), rng.normal(size=(33, horizon, len(taus))), taus)
    assert ours == pytest.approx(plain, rel=1e-5)


def test_the_loss_by_hand_for_two_steps_and_three_quantiles() -> None:
    """Outcomes 1 and −1 against quantiles −1, 0, 1 at both steps."""
    quantiles = np.tile([-1.0, 0.0, 1.0], (1, 2, 1))
    first = 0.1 * 2 + 0.5 * 1 + 0.9 * 0
    second = 0.1 * 0 + 0.5 * 1 + 0.1 * 2
    ours, plain = both_ways(np.array([[1.0, -1.0]]), quantiles, [0.1, 0.5, 0.9])
    assert ours == pytest.approx((first + second) / 6, rel=1e-6)
    assert plain == pytest.approx((first + second) / 6)


def test_a_bare_network_says_the_same_and_carries_no_training(tmp_path: Path) -> None:
    network = build(Network(units=[4], head=3), (9, 1), 3)
    network.compile("adam", Pinball([0.1, 0.5, 0.9]))
    inputs = np.random.default_rng(1).standard_normal((5, 9, 1)).astype(np.float32)
    bare(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")  # with all defaults, and no class of this project
    assert not loaded.compiled
    np.testing.assert_allclose(loaded.predict(inputs, verbose=0), network.predict(inputs, verbose=0), rtol=1e-6)
