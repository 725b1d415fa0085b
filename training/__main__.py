"""`python -m training VERB`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from app.artifact import store
from app.errors import ArtifactError
from training import recipe as recipes
from training.data import DataError
from training.recipe import RecipeError

INTERRUPTED = 130  # what a shell reports for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Recipes and prices to published models.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    train = verbs.add_parser("train", help="train a recipe and publish the model")
    train.add_argument("recipe", help=f"{', '.join(recipes.names())}, or a .toml file")
    train.add_argument("--csv", type=Path, help="prices to train on, instead of the recipe's stocks")
    train.add_argument("--column", help="the column of prices in the CSV file, or of the sample stocks")
    train.add_argument("--test-csv", type=Path, help="prices that follow those of --csv, to score the model on")
    train.add_argument("--name", help="name to publish under; the recipe's unless given")
    train.add_argument("--seed", type=int, help="the recipe's unless given")
    train.add_argument("--out", type=Path, default=Path("models"), help="directory of models (default: models)")
    chosen = parser.parse_args(arguments)
    if chosen.csv and not chosen.column:
        train.error("--csv needs --column")
    if chosen.test_csv and not chosen.csv:
        train.error("--test-csv needs --csv")
    try:
        return _train(chosen)
    except (RecipeError, DataError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was published", file=sys.stderr)
        return INTERRUPTED


def _train(chosen: argparse.Namespace) -> int:
    data = {} if chosen.column is None else {"column": chosen.column}
    if chosen.csv:
        data |= {"stocks": [], "csv": chosen.csv, "test_csv": chosen.test_csv}
    changes = {"data": data} | ({} if chosen.seed is None else {"seed": chosen.seed})
    recipe = recipes.load(chosen.recipe, **changes)
    name = chosen.name or Path(chosen.recipe).stem
    store.check_name(chosen.out, name)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets at length
    from training import run  # imports Keras: seconds that no mistyped command should cost
    from training.backtest import table
    from training.fit import display

    try:
        published = run.run(
            recipe, name, chosen.out, display(recipe.training.epochs), lambda line: print(line, flush=True)
        )
    except run.NetworkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{table(published.evidence.scores)}\n\n{published.evidence.summary}\n\npublished {published.path}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was begun is tidied away
    sys.exit(main())
