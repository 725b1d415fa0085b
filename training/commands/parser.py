"""The command line of `python -m training`: its options, and checks of their combinations."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from training.recipe_files import recipe_names

COMPARISON_EPOCHS = 20  # default of commands that compare recipes; a recipe then takes less than a minute on two cores


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: The arguments after the program's name. None takes those of this process.

    Raises:
        SystemExit: An option is missing or invalid, or options conflict. The usage and the error have been printed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train forecasting models from recipes, and evaluate published models."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    _add_train(verbs.add_parser("train", help="Train a recipe and publish the model."))
    _add_gradients(verbs.add_parser("gradients", help="Measure how gradients flow back through time during training."))
    _add_backtest(verbs.add_parser("backtest", help="Evaluate a published model on prices it was not trained on."))
    _add_compare(
        verbs.add_parser("compare", help="Evaluate published models on the same origins, or train and compare recipes.")
    )
    options = parser.parse_args(arguments)
    _check_combinations(options, verbs.choices[options.verb])
    return options


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help=f"Name of a recipe ({', '.join(recipe_names())}), or a .toml file.")
    parser.add_argument("--csv", type=Path, help="CSV file of prices to train on, instead of the recipe's stocks.")
    parser.add_argument("--column", help="Price column of the CSV file or of the sample stocks.")
    parser.add_argument(
        "--test-csv", type=Path, help="CSV file of the prices that follow those of --csv, to evaluate the model on."
    )
    parser.add_argument("--name", help="Name of the published model (default: the recipe's name).")
    parser.add_argument("--seed", type=int, help="Random seed (default: the recipe's seed).")
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="Directory to publish the model in (default: models)."
    )


def _add_gradients(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipes",
        metavar="recipe",
        nargs="+",
        help=f"Names of recipes ({', '.join(recipe_names())}), .toml files, or all for every shipped recipe.",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=COMPARISON_EPOCHS,
        help=f"Number of epochs to train each recipe for (default: {COMPARISON_EPOCHS}).",
    )
    parser.add_argument("--csv", type=Path, help="CSV file of prices to train on, instead of a sample stock.")
    parser.add_argument("--column", help="Price column of the CSV file.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("backtests/gradients"),
        help="Directory to write the chart to (default: backtests/gradients).",
    )


def _add_backtest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="Model to evaluate, as name or name@version.")
    _add_evaluation_options(parser, is_required=True)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="model", nargs="*", help="Models to evaluate, as name or name@version.")
    parser.add_argument(
        "--recipes",
        metavar="RECIPE",
        nargs="+",
        help="Recipes to train on the same prices and compare, instead of models. Use all for every shipped recipe.",
    )
    parser.add_argument(
        "--epochs", type=int, help=f"Number of epochs to train each recipe for (default: {COMPARISON_EPOCHS})."
    )
    parser.add_argument("--seeds", type=int, help="Number of random seeds to train each recipe with (default: 1).")
    parser.add_argument(
        "--test-csv", type=Path, help="CSV file of the prices that follow those of --csv, to evaluate recipes on."
    )
    _add_evaluation_options(parser, is_required=False)


def _add_evaluation_options(parser: argparse.ArgumentParser, is_required: bool) -> None:
    """Add the options that `backtest` and `compare` share."""
    prices = parser.add_mutually_exclusive_group(required=is_required)
    recipes_note = "" if is_required else " With --recipes, also train on it."
    prices.add_argument("--csv", type=Path, help=f"Evaluate on a CSV file of prices.{recipes_note}")
    prices.add_argument(
        "--sample", action="store_true", help="Evaluate on the test block of the (first) model's sample stocks."
    )
    prices.add_argument(
        "--unseen",
        action="store_true",
        help="Evaluate on sp500, nasdaq, wti and vix, which no shipped recipe trains on.",
    )
    parser.add_argument("--column", help="Price column of the CSV file.")
    parser.add_argument(
        "--models", dest="models_dir", type=Path, help="Directory of published models (default: models)."
    )
    parser.add_argument("--out", type=Path, help="Directory to write to (default: a directory under backtests).")


def _check_combinations(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Print the usage and end the process if options conflict or require others."""
    if options.verb == "compare":
        _check_compare(options, parser)
    if options.csv and not options.column:
        parser.error("--csv needs --column")
    if options.verb in ("train", "compare") and options.test_csv and not options.csv:
        parser.error("--test-csv needs --csv")
    if options.verb != "train" and options.column and not options.csv:
        parser.error("--column needs --csv")


def _check_compare(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Check that `compare` got either models and prices, or recipes."""
    if bool(options.models) == bool(options.recipes):
        parser.error("give either models to evaluate or --recipes to train")
    if options.recipes:
        if options.sample or options.unseen:
            parser.error(
                "--sample and --unseen cannot be used with --recipes, which are evaluated on --csv or a sample stock"
            )
        if options.models_dir is not None:
            parser.error("--models cannot be used with --recipes, which publish in --out")
        if options.seeds is not None and options.seeds < 1:
            parser.error("--seeds must be 1 or more")
        return
    for key in ("epochs", "seeds", "test_csv"):
        if getattr(options, key) is not None:
            parser.error(f"--{key.replace('_', '-')} needs --recipes")
    if not (options.csv or options.sample or options.unseen):
        parser.error("one of the arguments --csv --sample --unseen is required")
