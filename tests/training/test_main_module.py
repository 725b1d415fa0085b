"""Tests of `main`: which options reach the commands, and how errors are reported."""

from pathlib import Path

import keras
import numpy as np
import pytest

from app.artifact.evidence import Curve
from tests.conftest import MODELS
from tests.training.conftest import RECIPES, write_price_file
from training.__main__ import INTERRUPTED, main
from training.commands import compare_recipes, gradients, train
from training.data.simulator import random_walk
from training.recipe import Recipe
from training.recipe_files import load_recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_keras_batch_sizes")]

QUICK = str(RECIPES / "quick.toml")
QUICK_TUTORIAL = str(RECIPES / "quick-tutorial.toml")


@pytest.fixture(autouse=True)
def _restore_log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let monkeypatch restore the variable, which `main` sets if it is missing."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return write_price_file(tmp_path / "prices.csv", "2001-01-01", 400)


@pytest.fixture
def later_csv(tmp_path: Path) -> Path:
    """The prices after those of `csv`."""
    return write_price_file(tmp_path / "later.csv", "2005-01-01", 30)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the only line on standard error."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


# train


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tutorail"], "error: no recipe is called 'tutorail'; choose from clipped, default, "),
        (["gone.toml"], "error: gone.toml: "),
        (["tutorial", "--seed", "-1"], "error: tutorial.toml: seed: Input should be greater than or equal to 0"),
        (["tutorial", "--column", "volume"], "error: stocks.csv.gz: no price column 'volume'; choose from open, "),
        (["tutorial", "--csv", "gone.csv", "--column", "Open"], "error: gone.csv: cannot be read"),
        ([QUICK_TUTORIAL, "--name", "My Model"], "error: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_train_bad_input_prints_one_line_and_returns_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments, "--out", str(tmp_path / "models")]) == 2
    assert error_line(capsys).startswith(message)
    assert not (tmp_path / "models").exists() or list((tmp_path / "models").iterdir()) == []


def test_train_invalid_recipe_file_prints_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("window = ", 'description = "x"\nwindow = 3\n', 'description = "x"\ndata = 3\n'):
        path = tmp_path / "mine.toml"
        path.write_text(content)
        assert main(["train", str(path), "--out", str(tmp_path)]) == 2
        assert error_line(capsys).startswith("error: mine.toml: ")


def test_train_unknown_column_is_named(csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", QUICK, "--csv", str(csv), "--column", "Close", "--out", str(tmp_path / "models")]) == 2
    assert error_line(capsys) == "error: prices.csv: no column 'Close'; the columns are Date, Open"


def test_train_price_not_positive_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = ["10", "11", "0", *["12"] * 300]
    (tmp_path / "mine.csv").write_text("\n".join(["Close", *prices]))
    arguments = ["--csv", str(tmp_path / "mine.csv"), "--column", "Close", "--out", str(tmp_path / "models")]
    market = tmp_path / "market.toml"
    market.write_text((RECIPES / "quick.toml").read_text().replace("synthetic_paths = 6", "synthetic_paths = 0"))
    assert main(["train", str(market), *arguments]) == 2
    assert error_line(capsys).startswith("error: mine, price 3: a price must be positive for this model")


def test_train_file_as_out_directory_prints_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["train", QUICK, "--out", str(tmp_path / "file")]) == 2
    assert "file" in error_line(capsys)


def test_train_diverged_network_returns_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(network: keras.Model, *_: object) -> Curve:
        network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
        return Curve(loss=[float("nan")], validation=[], best=0)

    monkeypatch.setattr(train, "fit_network", diverge)
    assert main(["train", QUICK_TUTORIAL, "--out", str(tmp_path)]) == 1
    assert error_line(capsys).startswith("error: training has diverged")
    assert list(tmp_path.iterdir()) == []


def test_train_interrupted_returns_130(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit_network", interrupt)
    assert main(["train", QUICK, "--out", str(tmp_path)]) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted; nothing was published\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("constant", ["later", "always"])
def test_train_constant_prices_are_published_or_rejected(
    constant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If prices are constant, no forecast can beat the last price."""
    prices = random_walk(1, 300, 1)[0].prices.round(4) if constant == "later" else np.full(300, 7.75)
    lines = [f"{price}" for price in [*prices, *[prices[-1]] * 100]]
    (tmp_path / "pegged.csv").write_text("\n".join(["Close", *lines]))
    arguments = ["--csv", str(tmp_path / "pegged.csv"), "--column", "Close", "--out", str(tmp_path / "models")]
    status = main(["train", QUICK_TUTORIAL, *arguments])
    printed = capsys.readouterr()
    if status == 2:
        assert "pegged" in printed.err
    else:
        assert (status, printed.err) == (0, "")
        assert printed.out.splitlines()[-1].startswith("published ")


def test_train_options_change_the_recipe(csv: Path, later_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def stop(chosen: object, name: str, out: Path, *_: object) -> None:
        calls.append((chosen, name, out))
        raise train.NetworkError("stopped")

    monkeypatch.setattr(train, "train_and_publish", stop)
    files = ["--csv", str(csv), "--column", "Open", "--test-csv", str(later_csv)]
    assert main(["train", QUICK, *files, "--name", "mine", "--seed", "9", "--out", "elsewhere"]) == 1
    assert main(["train", QUICK, "--column", "close"]) == 1
    assert main(["train", QUICK]) == 1
    (first, name, out), (second, default_name, default_out), (third, *_) = calls
    unchanged = load_recipe(QUICK)
    data = unchanged.data.model_copy(update={"stocks": [], "csv": csv, "test_csv": later_csv, "column": "Open"})
    assert first == unchanged.model_copy(update={"data": data, "seed": 9})
    assert (name, out) == ("mine", Path("elsewhere"))
    assert second == unchanged.model_copy(update={"data": unchanged.data.model_copy(update={"column": "close"})})
    assert (default_name, default_out) == ("quick", Path("models"))
    assert third == unchanged


# gradients and compare --recipes


def test_gradients_options_change_every_recipe(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compare(recipes: dict[str, Recipe], out: Path, *_: object) -> Path:
        calls.append((recipes, out))
        return out / "gradients.png"

    monkeypatch.setattr(gradients, "compare_gradients", compare)
    assert main(["gradients", "lstm", QUICK, "--epochs", "3", "--csv", str(csv), "--column", "Open"]) == 0
    assert main(["gradients", "echo-state", "--out", "elsewhere"]) == 0
    (first, _), (second, out) = calls
    assert list(first) == ["lstm", "quick"]
    for each in first.values():
        assert (each.data.csv, each.data.column, each.data.synthetic_paths) == (csv, "Open", 0)
        assert each.training.epochs == 3
    assert (second["echo-state"].data.stocks, second["echo-state"].training.epochs) == (["GOOG"], 1)
    assert out == Path("elsewhere")


def test_compare_recipes_options_change_every_recipe(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(recipes: dict[str, Recipe], seeds: int, out: Path, *_: object) -> Path:
        assert (recipes["lstm"].training.epochs, recipes["lstm"].data.csv, seeds) == (3, csv, 2)
        return out

    monkeypatch.setattr(compare_recipes, "train_recipes", compare)
    options = ["--epochs", "3", "--seeds", "2", "--csv", str(csv), "--column", "Open"]
    assert main(["compare", "--recipes", "lstm", *options]) == 0


def test_compare_recipes_interrupted_reports_saved_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(recipes: dict[str, Recipe], seeds: int, out: Path, *_: object) -> None:
        assert (list(recipes), recipes["lstm"].training.epochs, seeds) == (["lstm"], 20, 1)
        assert out == Path("backtests/recipes-GOOG")
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_recipes, "train_recipes", interrupt)
    assert main(["compare", "--recipes", "lstm"]) == INTERRUPTED
    assert capsys.readouterr().err.startswith("interrupted; finished training runs are saved")


# backtest and compare


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backtest", "gone", "--sample"], f"error: {MODELS}/gone: no such model; available: default, tutorial"),
        (["backtest", "default@77", "--sample"], f"error: {MODELS}/default: no version '77'; available: "),
        (["backtest", "default", "--csv", "gone.csv", "--column", "Open"], "error: gone.csv: cannot be read"),
        (["compare", "default", "gone", "--unseen"], f"error: {MODELS}/gone: no such model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_evaluate_unknown_model_or_file_returns_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--models", str(MODELS), "--out", str(tmp_path / "out")]) == 2
    assert error_line(capsys).startswith(message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["12"] * 30, "error: mine: 30 prices are too few for a window of 60 and a horizon of "),
        (["10", "11", "0", *["12"] * 300], "error: mine, price 3: a price must be positive for this model"),
    ],
    ids=["too few", "not positive"],
)
@pytest.mark.parametrize("verb", ["backtest", "compare"])
def test_evaluate_unusable_prices_returns_2(
    verb: str, content: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.csv").write_text("\n".join(["Close", *content]))
    arguments = ["--csv", str(tmp_path / "mine.csv"), "--column", "Close", "--models", str(MODELS)]
    assert main([verb, "default", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert error_line(capsys).startswith(message)


def test_backtest_file_as_out_directory_prints_one_line(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--csv", str(csv), "--column", "Open", "--models", str(MODELS), "--out", str(csv)]
    assert main(["backtest", "default", *arguments]) == 2
    assert error_line(capsys) == f"error: {csv}: File exists"
