"""The command line: what it prints, what it refuses in one line, and how it is interrupted."""

import json
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import keras
import numpy as np
import pytest

from app.artifact import store
from app.artifact.evidence import Curve
from tests.conftest import MODELS, version_of
from tests.training.conftest import RECIPES, ROOT, daily_dates
from training import recipe
from training.__main__ import INTERRUPTED, main
from training.commands import compare_recipes, gradients, train
from training.data.simulator import random_walk

pytestmark = pytest.mark.slow

QUICK = str(RECIPES / "quick.toml")
QUICK_TUTORIAL = str(RECIPES / "quick-tutorial.toml")
LIMIT_S = 240  # of a process that hangs; far above what any takes


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line sets this where it is not set, which is not to outlive a test."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return written(tmp_path / "prices.csv", "2001-01-01", 400)


@pytest.fixture
def later_csv(tmp_path: Path) -> Path:
    """What followed."""
    return written(tmp_path / "later.csv", "2005-01-01", 30)


def written(path: Path, first: str, count: int) -> Path:
    """A file of daily prices, newest first and with thousands, as it comes from the web."""
    prices = 1500 * random_walk(1, count, count)[0].prices / 100
    dates = daily_dates(first, count).astype("datetime64[D]")
    lines = [f'{day},"{price:,.2f}"' for day, price in zip(dates, prices, strict=True)]
    path.write_text("\n".join(["Date,Open", *lines[::-1]]) + "\n", encoding="utf-8")
    return path


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was printed to standard error."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def last_error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What argparse says after the usage."""
    return capsys.readouterr().err.splitlines()[-1]


# The real thing, as a process of its own


def test_training_on_files_prints_the_figures_and_publishes(csv: Path, later_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    arguments: list[str | Path] = ["--csv", csv, "--column", "open", "--test-csv", later_csv, "--out", out]
    done = subprocess.run(
        [sys.executable, "-m", "training", "train", QUICK_TUTORIAL, *arguments, "--name", "mine", "--seed", "5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("prices: 430 prices; rows sorted by date, oldest first")
    assert lines[1] == "380 windows to train on; 0 to validate"
    assert [line.split("  ")[0] for line in lines[2:4]] == ["epoch 1/2", "epoch 2/2"]
    head, row = lines.index("") + 1, lines.index("") + 2
    assert lines[head].split()[:4] == ["instrument", "h", "n", "RMSE"]
    assert lines[row].split()[:3] == ["prices", "1", "30"]
    assert any(line.endswith("Measured on 30 unseen steps of prices.") for line in lines)
    assert lines[-1] == f"published {out / 'mine' / '1'}"

    manifest = store.read_version(out, "mine", "1").manifest
    assert manifest.recipe["seed"] == 5
    assert manifest.recipe["data"]["csv"] == "prices.csv"
    assert manifest.data[0].source == "prices.csv, column Open; later.csv, column Open"
    for file in ("manifest.json", "report.html"):
        text = (out / "mine" / "1" / file).read_text(encoding="utf-8")
        for directory in (tmp_path, ROOT, Path.home()):
            assert str(directory) + "/" not in text
    assert '"/' not in json.dumps(manifest.recipe)


@contextmanager
def started(arguments: Sequence[str | Path]) -> Iterator[subprocess.Popen[str]]:
    """A process that hears Ctrl-C, even where the tests run in the background; ended after a while, come what may."""
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "training", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, heard)
    limit = Timer(LIMIT_S, process.kill)
    limit.start()
    try:
        with process:
            yield process
    finally:
        limit.cancel()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_training_with_a_sentence_and_leaves_nothing(
    csv: Path, tmp_path: Path, sig: signal.Signals
) -> None:
    endless = tmp_path / "endless.toml"
    endless.write_text((RECIPES / "quick-tutorial.toml").read_text().replace("epochs = 2", "epochs = 10000"))
    out = tmp_path / "models"
    with started(["train", endless, "--csv", csv, "--column", "Open", "--out", out]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("epoch"):
                break
        process.send_signal(sig)
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == INTERRUPTED == 130, errors
    assert errors.splitlines()[-1] == "interrupted; nothing was published"
    assert "Traceback" not in errors
    assert "published" not in rest
    assert not out.exists() or list(out.iterdir()) == []


BAD_INPUTS = """
import io, sys
from contextlib import redirect_stderr
from training.__main__ import main

for line in sys.stdin:
    errors = io.StringIO()
    with redirect_stderr(errors):
        try:
            code = main(line.split())
        except SystemExit as exit:
            code = exit.code
    print(code, "keras" in sys.modules, errors.getvalue().splitlines()[-1], sep="|")
"""


def answers(lines: Collection[str], out: Path) -> dict[str, tuple[str, str, str]]:
    """For each command: the exit code, whether Keras was imported by then, and the last line on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", BAD_INPUTS],
        input="".join(f"{line} --out {out}\n" if line.startswith("train ") else f"{line}\n" for line in lines),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [line.split("|") for line in done.stdout.splitlines()]
    return {line: (code, imported, said) for line, (code, imported, said) in zip(lines, found, strict=True)}


def test_what_is_mistyped_is_said_before_keras_is_imported(tmp_path: Path) -> None:
    """In one process, which costs the import of this package but once."""
    typed = {
        "train tutorail": "error: no recipe is called 'tutorail'",
        "train gone.toml": "error: gone.toml: ",
        "train tutorial --seed -1": "error: tutorial.toml: seed: ",
        "train default --csv prices.csv": "python -m training train: error: --csv needs --column",
        "train default --test-csv prices.csv": "python -m training train: error: --test-csv needs --csv",
        "gradients lstm tutorail": "error: no recipe is called 'tutorail'",
        "gradients lstm --epochs 0": "error: lstm.toml: training.epochs: ",
        "compare --recipes lstm tutorail": "error: no recipe is called 'tutorail'",
        "train": "python -m training train: error: the following arguments are required: recipe",
        "trian default": "python -m training: error: argument verb: invalid choice: 'trian'",
        "": "python -m training: error: the following arguments are required: verb",
        "train tutorial --seed one": "python -m training train: error: argument --seed: invalid int value: 'one'",
    }
    for line, (code, imported, said) in answers(typed, tmp_path / "models").items():
        assert (line, code) == (line, "2")
        assert said.startswith(typed[line])
        assert (line, imported) == (line, "False")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_no_model_may_have_is_refused_before_keras_is_imported(tmp_path: Path) -> None:
    mine = tmp_path / "Mine.toml"
    mine.write_text((RECIPES / "quick.toml").read_text())
    for code, imported, said in answers(
        ["train tutorial --name Tutorial", f"compare --recipes lstm {mine}"], tmp_path / "models"
    ).values():
        assert code == "2"
        assert "a model's name is lower-case letters, digits, - and _, 64 at most" in said
        assert imported == "False"


# In this process


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tutorail"], "error: no recipe is called 'tutorail'; there is clipped, default, "),
        (["gone.toml"], "error: gone.toml: "),
        (["tutorial", "--seed", "-1"], "error: tutorial.toml: seed: Input should be greater than or equal to 0"),
        (["tutorial", "--column", "volume"], "error: stocks.csv.gz: no price column 'volume'; there are open, "),
        (["tutorial", "--csv", "gone.csv", "--column", "Open"], "error: gone.csv: cannot be read"),
        ([QUICK_TUTORIAL, "--name", "My Model"], "error: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments, "--out", str(tmp_path / "models")]) == 2
    assert error_of(capsys).startswith(said)
    assert not (tmp_path / "models").exists() or list((tmp_path / "models").iterdir()) == []


def test_a_recipe_file_that_cannot_be_followed_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("window = ", 'description = "x"\nwindow = 3\n', 'description = "x"\ndata = 3\n'):
        path = tmp_path / "mine.toml"
        path.write_text(content)
        assert main(["train", str(path), "--out", str(tmp_path)]) == 2
        assert error_of(capsys).startswith("error: mine.toml: ")


def test_a_column_that_is_not_there_is_named(csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", QUICK, "--csv", str(csv), "--column", "Close", "--out", str(tmp_path / "models")]) == 2
    assert error_of(capsys) == "error: prices.csv: no column 'Close'; the columns are Date, Open"


def test_a_price_that_is_not_positive_is_named_by_series_and_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = ["10", "11", "0", *["12"] * 300]
    (tmp_path / "odd.csv").write_text("\n".join(["Close", *prices]))
    arguments = ["--csv", str(tmp_path / "odd.csv"), "--column", "Close", "--out", str(tmp_path / "models")]
    market = tmp_path / "market.toml"
    market.write_text((RECIPES / "quick.toml").read_text().replace("synthetic_paths = 6", "synthetic_paths = 0"))
    assert main(["train", str(market), *arguments]) == 2
    assert error_of(capsys).startswith("error: odd, price 3: a price must be positive for this model")


def test_a_place_to_publish_that_is_no_directory_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["train", QUICK, "--out", str(tmp_path / "file")]) == 2
    assert "file" in error_of(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "tutorial", "--csv", "prices.csv"], "--csv needs --column"),
        (["train", "tutorial", "--column", "Open", "--test-csv", "later.csv"], "--test-csv needs --csv"),
        (["train", "tutorial", "--epochs", "3"], "unrecognized arguments: --epochs 3"),
        (["backtest", "default"], "one of the arguments --csv --sample --unseen is required"),
        (["backtest", "--sample"], "the following arguments are required: model"),
        (["gradients"], "the following arguments are required: recipe"),
        (["gradients", "lstm", "--csv", "prices.csv"], "--csv needs --column"),
        (["gradients", "lstm", "--column", "Open"], "--column needs --csv"),
        (["compare"], "name models to judge, or --recipes to train"),
        (["compare", "default", "--recipes", "all"], "name models to judge, or --recipes to train"),
        (["compare", "default"], "one of the arguments --csv --sample --unseen is required"),
        (["compare", "--recipes", "all", "--sample"], "--recipes train on --csv, or a sample stock"),
        (["compare", "--recipes", "all", "--column", "Open"], "--column needs --csv"),
        (["compare", "--recipes", "all", "--test-csv", "later.csv"], "--test-csv needs --csv"),
        (["compare", "--recipes", "all", "--seeds", "0"], "--seeds must be 1 or more"),
        (
            ["compare", "--recipes", "all", "--models", "elsewhere"],
            "--models is of published models; --recipes publish in --out",
        ),
        (["compare", "default", "--csv", "a.csv", "--column", "x", "--seeds", "2"], "--seeds needs --recipes"),
        (["backtest", "default", "--csv", "prices.csv"], "--csv needs --column"),
        (["compare", "default", "--csv", "prices.csv"], "--csv needs --column"),
        (["backtest", "default", "--sample", "--column", "Open"], "--column needs --csv"),
        (["compare", "default", "--sample", "--unseen"], "argument --unseen: not allowed with argument --sample"),
    ],
)
def test_options_that_do_not_go_together_are_refused_with_the_usage(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert last_error_of(capsys).endswith(f"error: {said}")


def test_gradients_are_measured_under_equal_conditions(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def compare(wanted: dict[str, recipe.Recipe], out: Path, *_: object) -> Path:
        seen.append((wanted, out))
        return out / "gradients.png"

    monkeypatch.setattr(gradients, "compare_gradients", compare)
    assert main(["gradients", "lstm", QUICK, "--epochs", "3", "--csv", str(csv), "--column", "Open"]) == 0
    assert main(["gradients", "echo-state", "--out", "elsewhere"]) == 0
    (first, _), (second, out) = seen
    assert list(first) == ["lstm", "quick"]
    for each in first.values():
        assert (each.data.csv, each.data.column, each.data.synthetic_paths) == (csv, "Open", 0)
        assert each.training.epochs == 3
    assert (second["echo-state"].data.stocks, second["echo-state"].training.epochs) == (["GOOG"], 1)
    assert out == Path("elsewhere")


def test_help_names_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert not caught.value.code
    shown = capsys.readouterr().out
    for text in ("default", "tutorial", "--csv", "--column", "--test-csv", "--name", "--seed", "--out"):
        assert text in shown


def test_a_network_that_has_diverged_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(network: keras.Model, *_: object) -> Curve:
        network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
        return Curve(loss=[float("nan")], validation=[], best=0)

    monkeypatch.setattr(train, "fit_network", diverge)
    assert main(["train", QUICK_TUTORIAL, "--out", str(tmp_path)]) == 1
    assert error_of(capsys).startswith("error: training has diverged")
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_that_is_interrupted_says_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(wanted: dict[str, recipe.Recipe], seeds: int, out: Path, *_: object) -> None:
        assert (list(wanted), wanted["lstm"].training.epochs, seeds) == (["lstm"], 20, 1)
        assert out == Path("backtests/recipes-GOOG")
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_recipes, "compare_recipes", interrupted)
    assert main(["compare", "--recipes", "lstm"]) == INTERRUPTED
    assert capsys.readouterr().err.startswith("interrupted; what is finished is kept")


def test_recipes_are_compared_as_asked(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(wanted: dict[str, recipe.Recipe], seeds: int, out: Path, *_: object) -> Path:
        assert (wanted["lstm"].training.epochs, wanted["lstm"].data.csv, seeds) == (3, csv, 2)
        return out

    monkeypatch.setattr(compare_recipes, "compare_recipes", compare)
    options = ["--epochs", "3", "--seeds", "2", "--csv", str(csv), "--column", "Open"]
    assert main(["compare", "--recipes", "lstm", *options]) == 0


def test_an_interruption_is_exit_code_130(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit_network", interrupted)
    assert main(["train", QUICK, "--out", str(tmp_path)]) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted; nothing was published\n"
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_recipe(csv: Path, later_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def stop(chosen: object, name: str, out: Path, *_: object) -> None:
        seen.append((chosen, name, out))
        raise train.NetworkError("enough")

    monkeypatch.setattr(train, "train_and_publish", stop)
    files = ["--csv", str(csv), "--column", "Open", "--test-csv", str(later_csv)]
    assert main(["train", QUICK, *files, "--name", "mine", "--seed", "9", "--out", "elsewhere"]) == 1
    assert main(["train", QUICK, "--column", "close"]) == 1
    assert main(["train", QUICK]) == 1
    (first, name, out), (second, default_name, default_out), (third, *_) = seen
    plain = recipe.load(QUICK)
    data = plain.data.model_copy(update={"stocks": [], "csv": csv, "test_csv": later_csv, "column": "Open"})
    assert first == plain.model_copy(update={"data": data, "seed": 9})
    assert (name, out) == ("mine", Path("elsewhere"))
    assert second == plain.model_copy(update={"data": plain.data.model_copy(update={"column": "close"})})
    assert (default_name, default_out) == ("quick", Path("models"))
    assert third == plain


@pytest.mark.parametrize("still", ["later", "always"])
def test_prices_that_stand_still_are_answered_with_a_sentence(
    still: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scored or refused: there is nothing to beat where the last price is always right."""
    prices = random_walk(1, 300, 1)[0].prices.round(4) if still == "later" else np.full(300, 7.75)
    lines = [f"{price}" for price in [*prices, *[prices[-1]] * 100]]
    (tmp_path / "pegged.csv").write_text("\n".join(["Close", *lines]))
    arguments = ["--csv", str(tmp_path / "pegged.csv"), "--column", "Close", "--out", str(tmp_path / "models")]
    code = main(["train", QUICK_TUTORIAL, *arguments])
    printed = capsys.readouterr()
    if code == 2:
        assert "pegged" in printed.err
    else:
        assert (code, printed.err) == (0, "")
        assert printed.out.splitlines()[-1].startswith("published ")


# Judging what is published

DEFAULT, TUTORIAL = (f"{name}@{version_of(name)}" for name in ("default", "tutorial"))


def judged(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_a_backtest_prints_the_figures_and_writes_the_report(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = judged("backtest", DEFAULT, "--csv", csv, "--column", "open", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == (
        f"prices: 400 prices; rows sorted by date, oldest first; all are judged: {DEFAULT} was not trained on them"
    )
    assert lines[-1] == f"written {out / 'report.html'}"
    assert "The quantiles against baselines" in lines
    assert (out / "report.html").is_file()


def test_models_are_compared(csv: Path, tmp_path: Path) -> None:
    done = judged("compare", DEFAULT, TUTORIAL, DEFAULT, "--csv", csv, "--column", "open", "--out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[1:2] == ["1"]]
    assert [row[2] for row in rows] == [DEFAULT, TUTORIAL]  # each once
    assert done.stdout.splitlines()[-1] == f"written {tmp_path / 'compare.png'}"


def test_recipes_are_compared_and_an_interruption_loses_nothing(csv: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["compare", "--recipes", QUICK, QUICK_TUTORIAL, "--csv", csv, "--column", "open"]
    arguments += ["--out", tmp_path / "out"]
    with started([*arguments, "--epochs", "10000"]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == INTERRUPTED
    assert errors.splitlines()[-1] == ("interrupted; what is finished is kept, and the same command goes on from there")
    done = judged(*arguments, "--epochs", "2")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    rows = [line.split()[0] for line in done.stdout.splitlines() if line.strip().startswith("quick")]
    assert rows[-2:] == ["quick", "quick-tutorial"]
    assert done.stdout.splitlines()[-1] == f"written {tmp_path / 'out' / 'recipes.png'}"


WITHOUT_KERAS = """
import sys
from training.__main__ import main

code = main(["backtest", "default", "--csv", sys.argv[1], "--column", "open", "--out", sys.argv[2]])
code += main(["compare", "default", "tutorial", "--csv", sys.argv[1], "--column", "open", "--out", sys.argv[2]])
print(code, sorted({name.partition(".")[0] for name in sys.modules} & {"keras", "tensorflow", "jax", "torch"}))
"""


def test_judging_imports_neither_keras_nor_a_backend_of_it(csv: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, csv, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backtest", "gone", "--sample"], f"error: {MODELS}/gone: there is no such model; there is default, tutorial"),
        (["backtest", "default@77", "--sample"], f"error: {MODELS}/default: there is no version '77'; there is "),
        (["backtest", "default", "--csv", "gone.csv", "--column", "Open"], "error: gone.csv: cannot be read"),
        (["compare", "default", "gone", "--unseen"], f"error: {MODELS}/gone: there is no such model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_judged_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--models", str(MODELS), "--out", str(tmp_path / "out")]) == 2
    assert error_of(capsys).startswith(said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (["12"] * 30, "error: odd: 30 prices are too few: a window of 60 and "),
        (["10", "11", "0", *["12"] * 300], "error: odd, price 3: a price must be positive for this model"),
    ],
    ids=["too few", "not positive"],
)
@pytest.mark.parametrize("verb", ["backtest", "compare"])
def test_prices_that_cannot_be_judged_are_one_line_and_exit_code_2(
    verb: str, content: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.csv").write_text("\n".join(["Close", *content]))
    arguments = ["--csv", str(tmp_path / "odd.csv"), "--column", "Close", "--models", str(MODELS)]
    assert main([verb, "default", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert error_of(capsys).startswith(said)


def test_a_place_for_the_report_that_is_no_directory_is_one_line(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--csv", str(csv), "--column", "Open", "--models", str(MODELS), "--out", str(csv)]
    assert main(["backtest", "default", *arguments]) == 2
    assert error_of(capsys) == f"error: {csv}: File exists"
