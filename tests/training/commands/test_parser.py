"""Tests of the command line options."""

import pytest

from training.commands.parser import parse_options


def last_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the error that argparse prints after the usage."""
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["train", "tutorial", "--csv", "prices.csv"], "--csv needs --column"),
        (["train", "tutorial", "--column", "Open", "--test-csv", "later.csv"], "--test-csv needs --csv"),
        (["train", "tutorial", "--epochs", "3"], "unrecognized arguments: --epochs 3"),
        (["backtest", "default"], "one of the arguments --csv --sample --unseen is required"),
        (["backtest", "--sample"], "the following arguments are required: model"),
        (["gradients"], "the following arguments are required: recipe"),
        (["gradients", "lstm", "--csv", "prices.csv"], "--csv needs --column"),
        (["gradients", "lstm", "--column", "Open"], "--column needs --csv"),
        (["compare"], "give either models to evaluate or --recipes to train"),
        (["compare", "default", "--recipes", "all"], "give either models to evaluate or --recipes to train"),
        (["compare", "default"], "one of the arguments --csv --sample --unseen is required"),
        (
            ["compare", "--recipes", "all", "--sample"],
            "--sample and --unseen cannot be used with --recipes, which are evaluated on --csv or a sample stock",
        ),
        (["compare", "--recipes", "all", "--column", "Open"], "--column needs --csv"),
        (["compare", "--recipes", "all", "--test-csv", "later.csv"], "--test-csv needs --csv"),
        (["compare", "--recipes", "all", "--seeds", "0"], "--seeds must be 1 or more"),
        (
            ["compare", "--recipes", "all", "--models", "elsewhere"],
            "--models cannot be used with --recipes, which publish in --out",
        ),
        (["compare", "default", "--csv", "a.csv", "--column", "x", "--seeds", "2"], "--seeds needs --recipes"),
        (["backtest", "default", "--csv", "prices.csv"], "--csv needs --column"),
        (["compare", "default", "--csv", "prices.csv"], "--csv needs --column"),
        (["backtest", "default", "--sample", "--column", "Open"], "--column needs --csv"),
        (["compare", "default", "--sample", "--unseen"], "argument --unseen: not allowed with argument --sample"),
    ],
)
def test_parse_options_conflicting_options_print_usage(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(arguments)
    assert caught.value.code == 2
    assert last_error_line(capsys).endswith(f"error: {error}")


def test_train_help_names_recipes_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(["train", "--help"])
    assert not caught.value.code
    help_text = capsys.readouterr().out
    for text in ("default", "tutorial", "--csv", "--column", "--test-csv", "--name", "--seed", "--out"):
        assert text in help_text
