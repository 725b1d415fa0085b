"""`python -m training VERB`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from app.artifact import store
from app.errors import ArtifactError
from training.data.series import DataError
from training.recipe_files import COMPARISON_STOCK, RecipeError, comparable_recipes, load_recipe, recipe_names

MODELS = Path("models")
EPOCHS = 20  # where recipes are compared: each then takes less than a minute on two cores
INTERRUPTED = 130  # what a shell reports for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Recipes and prices to published models.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    train = verbs.add_parser("train", help="train a recipe and publish the model")
    train.add_argument("recipe", help=f"{', '.join(recipe_names())}, or a .toml file")
    train.add_argument("--csv", type=Path, help="prices to train on, instead of the recipe's stocks")
    train.add_argument("--column", help="the column of prices in the CSV file, or of the sample stocks")
    train.add_argument("--test-csv", type=Path, help="prices that follow those of --csv, to score the model on")
    train.add_argument("--name", help="name to publish under; the recipe's unless given")
    train.add_argument("--seed", type=int, help="the recipe's unless given")
    train.add_argument("--out", type=Path, default=MODELS, help="directory of models (default: models)")
    train.set_defaults(run=_train)
    flows = verbs.add_parser("gradients", help="measure how gradients flow back through time, while recipes train")
    flows.add_argument("recipes", metavar="recipe", nargs="+", help=f"all, or of {', '.join(recipe_names())}, or files")
    flows.add_argument("--epochs", type=int, default=EPOCHS, help="to train for (default: 20)")
    flows.add_argument("--csv", type=Path, help="prices to train on, instead of a sample stock's")
    flows.add_argument("--column", help="the column of prices in the CSV file")
    flows.add_argument("--out", type=Path, default=Path("backtests/gradients"), help="directory of the picture")
    flows.set_defaults(run=_gradients)
    one = verbs.add_parser("backtest", help="judge a published model on prices it was not fitted on")
    one.add_argument("model", help="name or name@version")
    one.set_defaults(run=_backtest)
    several = verbs.add_parser("compare", help="judge published models side by side, on the same origins")
    several.add_argument("models", metavar="model", nargs="*", help="name or name@version")
    several.add_argument("--recipes", metavar="RECIPE", nargs="+", help="train these instead, alike; all for all")
    several.add_argument("--epochs", type=int, help="to train recipes for (default: 20)")
    several.add_argument("--seeds", type=int, help="to train each recipe with (default: 1)")
    several.add_argument("--test-csv", type=Path, help="prices that follow those of --csv, to score recipes on")
    several.set_defaults(run=_compare)
    for verb in (one, several):
        prices = verb.add_mutually_exclusive_group(required=verb is one)
        prices.add_argument("--csv", type=Path, help="prices to judge on")
        prices.add_argument("--sample", action="store_true", help="the test block of the (first) model's sample stocks")
        prices.add_argument("--unseen", action="store_true", help="sp500, nasdaq, wti and vix: trained on by no recipe")
        verb.add_argument("--column", help="the column of prices in the CSV file")
        verb.add_argument("--models", dest="models_dir", type=Path, help="directory of models (default: models)")
        verb.add_argument("--out", type=Path, help="directory of the report (default: one under backtests)")
    chosen = parser.parse_args(arguments)
    verb = verbs.choices[chosen.verb]
    if chosen.verb == "compare":
        _check_compare(chosen, verb)
    if chosen.csv and not chosen.column:
        verb.error("--csv needs --column")
    if chosen.verb in ("train", "compare") and chosen.test_csv and not chosen.csv:
        verb.error("--test-csv needs --csv")
    if chosen.verb != "train" and chosen.column and not chosen.csv:
        verb.error("--column needs --csv")
    try:
        return int(chosen.run(chosen))
    except (RecipeError, DataError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a directory that cannot be written to
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        is_kept = chosen.verb == "compare" and chosen.recipes
        rest = (
            "what is finished is kept, and the same command goes on from there" if is_kept else "nothing was published"
        )
        print(f"interrupted; {rest}", file=sys.stderr)
        return INTERRUPTED


def _check_compare(chosen: argparse.Namespace, verb: argparse.ArgumentParser) -> None:
    """Either published models and prices to judge them on, or recipes; ends the process where it is neither."""
    if bool(chosen.models) == bool(chosen.recipes):
        verb.error("name models to judge, or --recipes to train")
    if chosen.recipes:
        if chosen.sample or chosen.unseen:
            verb.error("--recipes train on --csv, or a sample stock")
        if chosen.models_dir is not None:
            verb.error("--models is of published models; --recipes publish in --out")
        if chosen.seeds is not None and chosen.seeds < 1:
            verb.error("--seeds must be 1 or more")
        return
    for key in ("epochs", "seeds", "test_csv"):
        if getattr(chosen, key) is not None:
            verb.error(f"--{key.replace('_', '-')} needs --recipes")
    if not (chosen.csv or chosen.sample or chosen.unseen):
        verb.error("one of the arguments --csv --sample --unseen is required")


def _train(chosen: argparse.Namespace) -> int:
    data = {} if chosen.column is None else {"column": chosen.column}
    if chosen.csv:
        data |= {"stocks": [], "csv": chosen.csv, "test_csv": chosen.test_csv}
    changes = {"data": data} | ({} if chosen.seed is None else {"seed": chosen.seed})
    recipe = load_recipe(chosen.recipe, **changes)
    name = chosen.name or Path(chosen.recipe).stem
    store.check_model_name(chosen.out, name)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets at length
    from training.commands import train
    from training.fitting.progress import progress_display
    from training.reports.tables import overview, text

    try:
        published = train.train_and_publish(recipe, name, chosen.out, progress_display(recipe.training.epochs), _say)
    except train.NetworkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"\n{text(overview(published.evidence.scores))}\n\n{published.evidence.summary}\n\npublished {published.path}"
    )
    return 0


def _gradients(chosen: argparse.Namespace) -> int:
    wanted = comparable_recipes(chosen.recipes, chosen.epochs, chosen.csv, chosen.column)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.commands import gradients
    from training.fitting.progress import progress_display

    print(f"written {gradients.compare_gradients(wanted, chosen.out, progress_display, _say)}")
    return 0


def _backtest(chosen: argparse.Namespace) -> int:
    from training.commands import backtest
    from training.evaluation.published_model import open_model

    model = open_model(chosen.models_dir or MODELS, chosen.model)
    out = backtest.backtest_model(
        model, backtest.select_prices(model, chosen.csv, chosen.column, chosen.unseen), chosen.out, _say
    )
    print(f"written {out / 'report.html'}")
    return 0


def _compare(chosen: argparse.Namespace) -> int:
    if chosen.recipes:
        return _compare_recipes(chosen)
    from training.commands import backtest, compare_models
    from training.evaluation.published_model import open_model

    models = [open_model(chosen.models_dir or MODELS, reference) for reference in dict.fromkeys(chosen.models)]
    prices = backtest.select_prices(models[0], chosen.csv, chosen.column, chosen.unseen)
    print(f"written {compare_models.compare_models(models, prices, chosen.out, _say)}")
    return 0


def _compare_recipes(chosen: argparse.Namespace) -> int:
    epochs = EPOCHS if chosen.epochs is None else chosen.epochs
    wanted = comparable_recipes(chosen.recipes, epochs, chosen.csv, chosen.column, chosen.test_csv)
    out = chosen.out or Path("backtests") / f"recipes-{chosen.csv.stem if chosen.csv else COMPARISON_STOCK}"
    for name in wanted:
        store.check_model_name(out, name)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.commands import compare_recipes
    from training.fitting.progress import progress_display

    print(f"written {compare_recipes.compare_recipes(wanted, chosen.seeds or 1, out, progress_display, _say)}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was begun is tidied away
    sys.exit(main())
