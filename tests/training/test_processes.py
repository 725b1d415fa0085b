"""Tests of `python -m training` as a process: its output, its interruption and its imports."""

import json
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import pytest

from app.artifact import store
from tests.conftest import version_of
from tests.training.conftest import RECIPES, ROOT, write_price_file
from training.__main__ import INTERRUPTED, main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_keras_batch_sizes")]

QUICK = str(RECIPES / "quick.toml")
QUICK_TUTORIAL = str(RECIPES / "quick-tutorial.toml")
DEFAULT, TUTORIAL = (f"{name}@{version_of(name)}" for name in ("default", "tutorial"))
LIMIT_S = 240  # far more than any process needs; one that hangs is killed


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_price_file(tmp_path_factory.mktemp("prices") / "prices.csv", "2001-01-01", 400)


def run_python(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


# Training


def test_train_process_prints_figures_and_publishes(csv: Path, tmp_path: Path) -> None:
    later_csv = write_price_file(tmp_path / "later.csv", "2005-01-01", 30)
    out = tmp_path / "models"
    arguments: list[str | Path] = ["--csv", csv, "--column", "open", "--test-csv", later_csv, "--out", out]
    process = run_python("-m", "training", "train", QUICK_TUTORIAL, *arguments, "--name", "mine", "--seed", "5")
    assert (process.returncode, "Traceback" in process.stderr) == (0, False), process.stderr
    lines = process.stdout.splitlines()
    assert lines[0].startswith("prices: 430 prices; rows sorted by date, oldest first")
    assert lines[1] == "380 training windows; 0 validation windows"
    assert [line.split("  ")[0] for line in lines[2:4]] == ["epoch 1/2", "epoch 2/2"]
    head, row = lines.index("") + 1, lines.index("") + 2
    assert lines[head].split()[:4] == ["instrument", "h", "n", "RMSE"]
    assert lines[row].split()[:3] == ["prices", "1", "30"]
    assert any(line.endswith("Measured on 30 test steps of prices.") for line in lines)
    assert lines[-1] == f"published {out / 'mine' / '1'}"

    manifest = store.read_version(out, "mine", "1").manifest
    assert manifest.recipe["seed"] == 5
    assert manifest.recipe["data"]["csv"] == "prices.csv"
    assert manifest.data[0].source == "prices.csv, column Open; later.csv, column Open"
    for file in ("manifest.json", "report.html"):
        text = (out / "mine" / "1" / file).read_text(encoding="utf-8")
        for directory in (tmp_path, csv.parent, ROOT, Path.home()):
            assert str(directory) + "/" not in text
    assert '"/' not in json.dumps(manifest.recipe)


# Interruption


class Interrupted(NamedTuple):
    """A process that was interrupted while it trained."""

    returncode: int
    output: str  # after the interruption
    errors: str
    out: Path


@pytest.fixture(scope="module")
def interrupted(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Interrupted]:
    """Interrupt two training runs and a comparison. They run at the same time: each takes seconds to start."""
    directory = tmp_path_factory.mktemp("interrupted")
    endless = directory / "endless.toml"
    endless.write_text((RECIPES / "quick-tutorial.toml").read_text().replace("epochs = 2", "epochs = 10000"))
    prices: list[str | Path] = ["--csv", csv, "--column", "Open"]
    compare = ["compare", "--recipes", QUICK, QUICK_TUTORIAL, *prices, "--epochs", "10000"]
    cases = {
        "SIGINT": (["train", endless, *prices], signal.SIGINT, "epoch 1/"),
        "SIGTERM": (["train", endless, *prices], signal.SIGTERM, "epoch 1/"),
        "compare": (compare, signal.SIGINT, "epoch 3/"),
    }
    processes = {name: start_training([*case[0], "--out", directory / name]) for name, case in cases.items()}
    timers = [Timer(LIMIT_S, process.kill) for process in processes.values()]
    for timer in timers:
        timer.start()
    try:
        results = {}
        for name, (_, sig, line_start) in cases.items():
            stdout = processes[name].stdout
            assert stdout is not None
            next((line for line in stdout if line.startswith(line_start)), None)
            processes[name].send_signal(sig)
        for name, process in processes.items():
            output, errors = process.communicate()
            results[name] = Interrupted(process.returncode, output, errors, directory / name)
        return results
    finally:
        for timer, process in zip(timers, processes.values(), strict=True):
            timer.cancel()
            process.kill()


def start_training(arguments: Sequence[str | Path]) -> subprocess.Popen[str]:
    """Start a process that receives Ctrl-C, even if the tests run in the background, where SIGINT is ignored."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "training", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("sig", ["SIGINT", "SIGTERM"])
def test_interrupted_training_publishes_nothing(interrupted: dict[str, Interrupted], sig: str) -> None:
    process = interrupted[sig]
    assert process.returncode == INTERRUPTED == 130, process.errors
    assert process.errors.splitlines()[-1] == "interrupted; nothing was published"
    assert "Traceback" not in process.errors
    assert "published" not in process.output
    assert not process.out.exists() or list(process.out.iterdir()) == []


def test_interrupted_comparison_continues_when_repeated(
    interrupted: dict[str, Interrupted],
    csv: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # so that monkeypatch restores what `main` sets
    process = interrupted["compare"]
    assert process.returncode == INTERRUPTED
    assert process.errors.splitlines()[-1] == (
        "interrupted; finished training runs are saved; the same command continues with the rest"
    )
    arguments = ["compare", "--recipes", QUICK, QUICK_TUTORIAL, "--csv", str(csv), "--column", "open"]
    status = main([*arguments, "--out", str(process.out), "--epochs", "2"])
    printed = capsys.readouterr()
    assert (status, "Traceback" in printed.err) == (0, False), printed.err
    rows = [line.split()[0] for line in printed.out.splitlines() if line.strip().startswith("quick")]
    assert rows[-2:] == ["quick", "quick-tutorial"]
    assert printed.out.splitlines()[-1] == f"wrote {process.out / 'recipes.png'}"


# Imports

RUN_LINES_SCRIPT = """
import io, sys
from contextlib import redirect_stderr
from training.__main__ import main

for line in sys.stdin:
    errors = io.StringIO()
    with redirect_stderr(errors):
        try:
            status = main(line.split())
        except SystemExit as exit:
            status = exit.code
    print(status, "keras" in sys.modules, errors.getvalue().splitlines()[-1], sep="|")
"""


class CommandResult(NamedTuple):
    """The outcome of one command line."""

    status: str
    is_keras_imported: str  # "True" or "False"
    error: str  # last line on standard error


def run_lines(lines: Collection[str], out: Path) -> dict[str, CommandResult]:
    """Run command lines one after the other in the same process, which imports the package only once."""
    stdin = "".join(f"{line} --out {out}\n" if line.startswith("train ") else f"{line}\n" for line in lines)
    process = run_python("-c", RUN_LINES_SCRIPT, stdin=stdin)
    assert process.returncode == 0, process.stderr
    results = [CommandResult(*line.split("|")) for line in process.stdout.splitlines()]
    return dict(zip(lines, results, strict=True))


def test_mistyped_commands_fail_before_importing_keras(tmp_path: Path) -> None:
    expected = {
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
    for line, result in run_lines(expected, tmp_path / "models").items():
        assert (line, result.status) == (line, "2")
        assert result.error.startswith(expected[line])
        assert (line, result.is_keras_imported) == (line, "False")
    assert list(tmp_path.iterdir()) == []


def test_invalid_model_names_fail_before_importing_keras(tmp_path: Path) -> None:
    mine = tmp_path / "Mine.toml"
    mine.write_text((RECIPES / "quick.toml").read_text())
    lines = ["train tutorial --name Tutorial", f"compare --recipes lstm {mine}"]
    for result in run_lines(lines, tmp_path / "models").values():
        assert result.status == "2"
        assert "a model name has 1 to 64 characters: lower-case letters, digits, - and _" in result.error
        assert result.is_keras_imported == "False"


# Evaluation

EVALUATION_SCRIPT = """
import sys
from training.__main__ import main

default, tutorial, csv, out = sys.argv[1:]
options = ["--csv", csv, "--column", "open", "--out", out]
for command in (["backtest", default], ["compare", default, tutorial, default]):
    print(f"status {main([*command, *options])}", flush=True)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"keras", "tensorflow", "jax", "torch"}))
"""


class Evaluation(NamedTuple):
    """The output of `backtest` and of `compare`, run in one process."""

    backtest: list[str]
    compare: list[str]
    imported: str  # the Keras modules and backends that were imported
    out: Path


@pytest.fixture(scope="module")
def evaluation(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    out = tmp_path_factory.mktemp("evaluation") / "out"
    process = run_python("-c", EVALUATION_SCRIPT, DEFAULT, TUTORIAL, csv, out)
    assert (process.returncode, process.stderr) == (0, "")
    lines = process.stdout.splitlines()
    end = lines.index("status 0")
    assert lines[-2] == "status 0"
    return Evaluation(lines[:end], lines[end + 1 : -2], lines[-1], out)


def test_backtest_process_prints_figures_and_writes_report(evaluation: Evaluation) -> None:
    lines, out = evaluation.backtest, evaluation.out
    assert lines[0] == (
        f"prices: 400 prices; rows sorted by date, oldest first; all are evaluated: {DEFAULT} was not trained on them"
    )
    assert lines[-1] == f"wrote {out / 'report.html'}"
    assert "Quantiles against baselines" in lines
    assert (out / "report.html").is_file()


def test_compare_process_evaluates_each_model_once(evaluation: Evaluation) -> None:
    rows = [line.split() for line in evaluation.compare if line.split()[1:2] == ["1"]]
    assert [row[2] for row in rows] == [DEFAULT, TUTORIAL]
    assert evaluation.compare[-1] == f"wrote {evaluation.out / 'compare.png'}"


def test_backtest_and_compare_import_neither_keras_nor_a_backend(evaluation: Evaluation) -> None:
    assert evaluation.imported == "[]"
