"""The figures as tables, for a terminal and for a page."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from app.artifact.evidence import Score, Proportion
from training.evaluation.summary import SUMMARY_LEVELS, rmse_ratio


class Table(NamedTuple):
    """Cells as text; `note` says what the columns are."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def text(table: Table) -> str:
    """Aligned to the right; a row may end early."""
    lines = [table.head, *table.rows]
    widths = [max(len(row[i]) for row in lines if i < len(row)) for i in range(len(table.head))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False)) for row in lines)


def page(table: Table) -> str:
    """As HTML."""
    head, *rows = (
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in (("th", table.head), *(("td", row) for row in table.rows))
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f"<h3>{html.escape(table.title)}</h3>\n<p>{html.escape(table.note)}</p>\n"
        f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'
    )


def overview(scores: Sequence[Score]) -> Table:
    """What matters most, a row for each instrument and horizon."""
    levels = levels_of(scores)
    head = ["instrument", "h", "n", "RMSE", "last price", "ratio", "skill", "p", "copy", *(f"{lv}%" for lv in levels)]
    if levels:
        head += ["pinball/RW"]
    rows = []
    for s in scores:
        row = [s.instrument, str(s.horizon), str(s.origins), f"{s.rmse:.4g}", f"{s.rmse_last_price:.4g}"]
        row += [f"{rmse_ratio(s):.4f}", f"{s.skill:+.4f}", p_value(s.skill_p_value), f"{s.copy_ratio:.2f}"]
        row += [f"{s.coverage[str(level)]:.1f}" if str(level) in s.coverage else "-" for level in levels]
        if s.pinball is not None and s.pinball_random_walk:
            row += [f"{s.pinball / s.pinball_random_walk:.4f}"]
        rows.append(row)
    note = (
        "h = steps ahead, n = forecasts; RMSE of the median and of the last price, in price; skill = 1 − MSE/MSE of "
        "the last price, in log returns; p = the chance of as much without any skill (Diebold-Mariano); copy = how far "
        "the forecasts go from the last price, 0 repeats it; N% = outcomes inside that interval; pinball/RW = pinball "
        "loss over that of a random walk with EWMA volatility."
    )
    return Table("Overview", note, head, rows)


def details(scores: Sequence[Score]) -> list[Table]:
    """All the rest; by fold and by volatility at the first and at the last horizon only."""
    ends = {horizon for score in scores for horizon in (1, max(s.horizon for s in scores if s.seen is score.seen))}
    at_ends = [score for score in scores if score.horizon in ends]
    tables = [_point(scores), _direction(scores), _point_baselines(scores)]
    if levels_of(scores):
        tables += [_intervals(scores), _interval_baselines(scores), _volatility(at_ends)]
    return [table for table in [*tables, _folds(at_ends)] if table.rows]


def levels_of(scores: Sequence[Score]) -> list[int]:
    return sorted({int(level) for score in scores for level in score.coverage})


def _point(scores: Sequence[Score]) -> Table:
    head = ["instrument", "h", "MAE", "last price", "MASE", "RMSSE", "skill", "p", "p nested"]
    rows = [
        [
            *(*_key(s), f"{s.mae:.4g}", f"{s.mae_last_price:.4g}", number(s.mase), number(s.rmsse), f"{s.skill:+.4f}"),
            *(p_value(s.skill_p_value), p_value(s.skill_p_value_nested)),
        ]
        for s in scores
    ]
    note = (
        "MAE in price; MASE and RMSSE are over the one-step changes before the first forecast; p by Diebold-Mariano "
        "(Harvey-Leybourne-Newbold correction, Bartlett window), p nested by Clark-West."
    )
    return Table("Point forecasts", note, head, rows)


def _direction(scores: Sequence[Score]) -> Table:
    head = ["instrument", "h", "copy", "r last", "r next", "steps", "hit rate", "majority"]
    rows = []
    for s in scores:
        row = [*_key(s), f"{s.copy_ratio:.3f}", f"{s.correlation_last:.5f}", f"{s.correlation_next:.5f}"]
        if s.direction is None:
            row += ["0", "none said", "-"]
        else:
            row += [str(s.direction.steps), share(s.direction.hit_rate), f"{s.direction.majority:.1f}"]
        rows.append(row)
    note = (
        "r = correlation of the forecasts with the last and with the next price; hit rate in percent with Wilson's "
        "interval, beside what always saying the more frequent way would have hit. A median that repeats the last "
        "price says no direction. Beyond one step forecasts overlap, and the intervals are too narrow."
    )
    return Table("Lag and direction", note, head, rows)


def _point_baselines(scores: Sequence[Score]) -> Table:
    names = list(dict.fromkeys(row.baseline for s in scores for row in s.point_baselines))
    rows = [
        [
            *_key(s),
            *(ratio(r.rmse_ratio, r.low, r.high) for r in s.point_baselines),
            *["-"] * (len(names) - len(s.point_baselines)),
        ]
        for s in scores
        if s.point_baselines
    ]
    note = (
        "RMSE(model)/RMSE(baseline) in log returns, with a 95% interval by stationary bootstrap; below 1 the model is "
        "better. Drift, AR(1) and ridge are fitted on the first half of the series and scored, as the model beside "
        "them, on the second."
    )
    return Table("The median against baselines", note, ["instrument", "h", *names], rows)


def _intervals(scores: Sequence[Score]) -> Table:
    levels = levels_of(scores)
    head = ["instrument", "h", *(f"{level}%" for level in levels), "pinball", "CRPS", *(f"W{lv}" for lv in levels)]
    rows = [
        [
            *(*_key(s), *(share(s.coverage_interval.get(str(level))) for level in levels)),
            *(percent(s.pinball), percent(s.crps), *(percent(s.winkler.get(str(level))) for level in levels)),
        ]
        for s in scores
    ]
    note = (
        "Outcomes inside each interval, in percent, with the exact binomial interval; pinball loss, CRPS (integrated "
        "over the quantiles there are) and Winkler's score W, in percent of the last price."
    )
    return Table("Intervals", note, head, rows)


def _interval_baselines(scores: Sequence[Score]) -> Table:
    levels = [level for level in levels_of(scores) if level in SUMMARY_LEVELS]
    head = ["instrument", "h", "baseline", "n", "pinball", "p", "CRPS", *(f"W{level}" for level in levels)]
    rows = [
        [
            *(*_key(s), r.baseline, str(r.origins), ratio(r.pinball_ratio, r.low, r.high), p_value(r.p_value)),
            *(f"{r.crps_ratio:.4f}", *(number(r.winkler_ratio.get(str(level)), 4) for level in levels)),
        ]
        for s in scores
        for r in s.interval_baselines
    ]
    note = (
        "Loss(model)/loss(baseline), below 1 the model is better; pinball with a 95% interval by stationary bootstrap "
        "and p by Diebold-Mariano. GARCH(1,1)-t is fitted on the first half of the series and scored, as the model "
        "beside it, on the second; over h steps it has the sum of h expected variances, and the same t."
    )
    return Table("The quantiles against baselines", note, head, rows)


def _volatility(scores: Sequence[Score]) -> Table:
    levels = levels_of(scores)
    head = ["instrument", "h", "volatility", "up to", "n", *(f"{level}%" for level in levels)]
    rows = [
        [*_key(s), t.volatility, percent(t.greatest), str(t.origins)]
        + [share(t.coverage.get(str(level))) for level in levels]
        for s in scores
        for t in s.coverage_by_volatility
    ]
    return Table("Coverage by volatility", "Thirds by the window's EWMA volatility, in percent per step.", head, rows)


def _folds(scores: Sequence[Score]) -> Table:
    levels = [level for level in levels_of(scores) if level in SUMMARY_LEVELS]
    head = ["instrument", "h", "from", "to", "n", "skill", "ratio", *(f"{level}%" for level in levels)]
    head += ["pinball/RW"] if levels_of(scores) else []
    rows = [
        [*_key(s), str(f.first_date or "-"), str(f.last_date or "-"), str(f.origins), f"{f.skill:+.4f}"]
        + [f"{f.rmse_ratio:.4f}", *(number(f.coverage.get(str(level)), 1) for level in levels)]
        + ([number(f.pinball_ratio, 4)] if levels_of(scores) else [])
        for s in scores
        for f in s.folds
    ]
    return Table("Folds", "Five consecutive parts of the origins; columns as in the overview.", head, rows)


def _key(score: Score) -> list[str]:
    return [score.instrument, str(score.horizon)]


def p_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3f}"


def share(found: Proportion | None) -> str:
    return "-" if found is None else f"{found.percent:.1f} [{found.low:.1f}, {found.high:.1f}]"


def ratio(found: float, low: float, high: float) -> str:
    return f"{found:.4f} [{low:.4f}, {high:.4f}]"
