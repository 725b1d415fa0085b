"""The verb `backtest`: a published model walked forward over prices, with exactly what the service would answer."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from training.data.csv_file import read_csv
from training.data.series import Series
from training.data.unseen_series import load_unseen_series
from training.evaluation import backtest, scoring, summary
from training.evaluation.backtest import Backtest
from training.evaluation.published_model import PublishedModel
from training.reports import report, tables

Print = Callable[[str], None]


class EvaluationPrices(NamedTuple):
    """What a model is judged on: a name for it, and the series."""

    name: str
    series: list[Series]


def select_prices(model: PublishedModel, csv: Path | None, column: str | None, unseen: bool) -> EvaluationPrices:
    """A file's column, or the series that no model has seen, or else the model's own sample stocks.

    Raises:
        DataError: they cannot be read, or the model has none.
    """
    if csv is not None and column is not None:
        series = read_csv(csv, column)
        return EvaluationPrices(series.name, [series])
    return EvaluationPrices("unseen", load_unseen_series()) if unseen else EvaluationPrices("sample", model.samples())


def backtest_model(model: PublishedModel, chosen: EvaluationPrices, out: Path | None, say: Print) -> Path:
    """Backtests, prints every table, and writes the report.

    Args:
        out: where to; backtests/<model>-<version>-<name of the prices> unless given.

    Returns:
        The directory written to.

    Raises:
        DataError: there are too few prices, or one that the model cannot take.
    """
    tests = [test_of(model, series, say) for series in chosen.series]
    scores = [score for test in tests for score in scoring.score_backtest(test)]
    found = summary.summarize(scores, held=model.held)
    say("")
    for table in [tables.overview(found.scores), *tables.details(found.scores)]:
        say(f"{table.title}\n{table.note}\n{tables.text(table)}\n")
    say(f"{found.summary}\n{report.lag_sentence(found.scores)}\n")
    out = out or Path("backtests") / f"{model.manifest.name}-{model.manifest.version}-{chosen.name}"
    out.mkdir(parents=True, exist_ok=True)
    sources = "; ".join(dict.fromkeys(series.source for series in chosen.series))
    title = f"{model.reference} on {chosen.name}"
    description = f"{model.manifest.recipe['description']}. Judged on {sources}."
    report.write_report(out, title, description, tests, model.manifest.curve, found)
    return out


def test_of(model: PublishedModel, series: Series, say: Print) -> Backtest:
    """Every forecast of one series that the model may be judged on."""
    first = first_row(model, series, say)
    samples = backtest.samples_from(series, first, model.manifest.window, model.manifest.horizon)
    return model.run(samples, seen=model.knows(series))


def first_row(model: PublishedModel, series: Series, say: Print) -> int:
    """The first row to be judged on, after it was said which these are and why."""
    model.reject_invalid_prices(series)
    first = model.first_row(series)
    told = "".join(f"; {note}" for note in series.notes)
    if first:
        begins = "" if series.dates is None else f", from {series.dates[first].astype('datetime64[D]')} on"
        said = f"only the last {len(series.prices) - first} are judged{begins}: {model.reference} has seen those before"
    elif model.has_read(series):
        said = f"all are judged, though {model.reference} was trained on a file of that name"
    else:
        said = f"all are judged: {model.reference} was not trained on them"
    say(f"{series.name}: {len(series.prices)} prices{told}; {said}")
    return first
