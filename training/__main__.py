"""`python -m training`: train models, and evaluate published models.

The commands import Keras, SciPy and Matplotlib only when they run, after their options have been checked.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from app.artifact import store
from app.errors import ArtifactError
from training.commands.parser import COMPARISON_EPOCHS, parse_options
from training.data.series import DataError
from training.recipe_files import COMPARISON_STOCK, RecipeError, comparable_recipes, load_recipe

MODELS = Path("models")
INTERRUPTED = 130  # the exit status that shells report for a process ended by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The arguments after the program's name. None takes those of this process.

    Returns:
        The exit status: 0 on success, 1 if the trained network cannot be published, 2 if the input is invalid, and 130
        if the command was interrupted.
    """
    options = parse_options(arguments)
    commands = {"train": _train, "gradients": _gradients, "backtest": _backtest, "compare": _compare}
    try:
        return commands[options.verb](options)
    except (RecipeError, DataError, ArtifactError) as error:
        return _report_error(str(error), 2)
    except OSError as error:  # such as a directory that cannot be written to
        return _report_error(f"{error.filename}: {error.strerror}", 2)
    except KeyboardInterrupt:
        is_resumable = options.verb == "compare" and options.recipes
        outcome = (
            "finished training runs are saved; the same command continues with the rest"
            if is_resumable
            else "nothing was published"
        )
        print(f"interrupted; {outcome}", file=sys.stderr)
        return INTERRUPTED


def _train(options: argparse.Namespace) -> int:
    data = {} if options.column is None else {"column": options.column}
    if options.csv:
        data |= {"stocks": [], "csv": options.csv, "test_csv": options.test_csv}
    changes = {"data": data} | ({} if options.seed is None else {"seed": options.seed})
    recipe = load_recipe(options.recipe, **changes)
    name = options.name or Path(options.recipe).stem
    store.check_model_name(options.out, name)
    _silence_tensorflow()
    from training.commands import train
    from training.fitting.progress import progress_display
    from training.reports.score_tables import overview_table

    display = progress_display(recipe.training.epochs)
    try:
        result = train.train_and_publish(recipe, name, options.out, display, _print_line)
    except train.NetworkError as error:
        return _report_error(str(error), 1)
    overview = overview_table(result.evidence.scores).to_text()
    print(f"\n{overview}\n\n{result.evidence.summary}\n\npublished {result.path}")
    return 0


def _gradients(options: argparse.Namespace) -> int:
    compared = comparable_recipes(options.recipes, options.epochs, options.csv, options.column)
    _silence_tensorflow()
    from training.commands import gradients
    from training.fitting.progress import progress_display

    chart = gradients.compare_gradients(compared, options.out, progress_display, _print_line)
    print(f"wrote {chart}")
    return 0


def _backtest(options: argparse.Namespace) -> int:
    from training.commands import backtest
    from training.evaluation.published_model import open_model

    model = open_model(options.models_dir or MODELS, options.model)
    data = backtest.load_evaluation_data(model, options.csv, options.column, options.unseen)
    directory = backtest.backtest_model(model, data, options.out, _print_line)
    print(f"wrote {directory / 'report.html'}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    if options.recipes:
        return _compare_recipes(options)
    from training.commands import backtest, compare_models
    from training.evaluation.published_model import open_model

    models = [open_model(options.models_dir or MODELS, reference) for reference in dict.fromkeys(options.models)]
    data = backtest.load_evaluation_data(models[0], options.csv, options.column, options.unseen)
    chart = compare_models.backtest_models(models, data, options.out, _print_line)
    print(f"wrote {chart}")
    return 0


def _compare_recipes(options: argparse.Namespace) -> int:
    epochs = COMPARISON_EPOCHS if options.epochs is None else options.epochs
    compared = comparable_recipes(options.recipes, epochs, options.csv, options.column, options.test_csv)
    out = options.out or Path("backtests") / f"recipes-{options.csv.stem if options.csv else COMPARISON_STOCK}"
    for name in compared:
        store.check_model_name(out, name)
    _silence_tensorflow()
    from training.commands import compare_recipes
    from training.fitting.progress import progress_display

    chart = compare_recipes.train_recipes(compared, options.seeds or 1, out, progress_display, _print_line)
    print(f"wrote {chart}")
    return 0


def _silence_tensorflow() -> None:
    """Hide TensorFlow's start-up messages, unless the environment sets the log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _print_line(line: str) -> None:
    print(line, flush=True)


def _report_error(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up on SIGTERM as on Ctrl-C
    sys.exit(main())
