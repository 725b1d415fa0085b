"""The command `backtest`: evaluate a published model on prices that it was not trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from training.data.csv_file import read_csv
from training.data.series import Series
from training.data.unseen_series import load_unseen_series
from training.evaluation.backtest import Backtest, samples_from
from training.evaluation.published_model import PublishedModel
from training.evaluation.scoring import score_backtest
from training.evaluation.summary import summarize
from training.reports.report import lag_sentence, write_report
from training.reports.score_tables import detail_tables, overview_table

PrintLine = Callable[[str], None]


class EvaluationData(NamedTuple):
    """The series to evaluate on."""

    name: str  # name for the data in titles and directory names
    series: list[Series]


def load_evaluation_data(
    model: PublishedModel, csv: Path | None, column: str | None, use_unseen: bool
) -> EvaluationData:
    """Load a CSV file, the series that no shipped recipe trains on, or the sample stocks of the model's recipe.

    Args:
        model: The model whose recipe names the sample stocks.
        csv: A CSV file of prices, which takes precedence.
        column: The price column of the file.
        use_unseen: Whether to load the unseen series instead of the sample stocks.

    Raises:
        DataError: The data cannot be read, or the recipe names no sample stocks.
    """
    if csv is not None and column is not None:
        series = read_csv(csv, column)
        return EvaluationData(series.name, [series])
    if use_unseen:
        return EvaluationData("unseen", load_unseen_series())
    return EvaluationData("sample", model.recipe_stocks())


def backtest_model(model: PublishedModel, data: EvaluationData, out: Path | None, print_line: PrintLine) -> Path:
    """Backtest a model, print every table, and write the report.

    Args:
        model: The model to evaluate.
        data: The prices to evaluate it on.
        out: The directory of the report. None means backtests/<model>-<version>-<name of the data>.
        print_line: Prints one line or table.

    Returns:
        The directory of the report.

    Raises:
        DataError: There are too few prices, or the model does not accept one of them.
    """
    backtests = [backtest_series(model, series, print_line) for series in data.series]
    scores = [score for backtest in backtests for score in score_backtest(backtest)]
    evidence = summarize(scores, is_centered_on_last_price=model.is_centered_on_last_price)
    print_line("")
    for table in [overview_table(evidence.scores), *detail_tables(evidence.scores)]:
        print_line(f"{table.title}\n{table.note}\n{table.to_text()}\n")
    print_line(f"{evidence.summary}\n{lag_sentence(evidence.scores)}\n")
    out = out or Path("backtests") / f"{model.manifest.name}-{model.manifest.version}-{data.name}"
    out.mkdir(parents=True, exist_ok=True)
    sources = "; ".join(dict.fromkeys(series.source for series in data.series))
    description = f"{model.manifest.recipe['description']}. Evaluated on {sources}."
    write_report(out, f"{model.reference} on {data.name}", description, backtests, model.manifest.curve, evidence)
    return out


def backtest_series(model: PublishedModel, series: Series, print_line: PrintLine) -> Backtest:
    """Forecast every sample of a series that the model may be evaluated on."""
    first_row = find_first_test_row(model, series, print_line)
    samples = samples_from(series, first_row, model.manifest.window, model.manifest.horizon)
    return model.backtest(samples, is_seen=model.has_seen(series))


def find_first_test_row(model: PublishedModel, series: Series, print_line: PrintLine) -> int:
    """Return the first row that the model may be evaluated on, and print which rows are evaluated and why.

    Raises:
        DataError: The model does not accept one of the prices.
    """
    model.reject_invalid_prices(series)
    first_row = model.first_test_row(series)
    notes = "".join(f"; {note}" for note in series.notes)
    if first_row:
        start = "" if series.dates is None else f", starting on {series.dates[first_row].astype('datetime64[D]')}"
        count = len(series.prices) - first_row
        rows = f"only the last {count} are evaluated{start}: {model.reference} was trained on earlier prices"
    elif model.has_seen_source(series):
        rows = (
            f"all are evaluated, but {model.reference} was trained on a file with the same name and different content"
        )
    else:
        rows = f"all are evaluated: {model.reference} was not trained on them"
    print_line(f"{series.name}: {len(series.prices)} prices{notes}; {rows}")
    return first_row
