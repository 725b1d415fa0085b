"""Tables of scores."""

from collections.abc import Sequence

from app.artifact.evidence import Score
from training.evaluation.summary import SUMMARY_LEVELS, rmse_ratio
from training.reports.tables import MISSING, Table, format_number, format_percent, format_proportion, format_ratio


def overview_table(scores: Sequence[Score]) -> Table:
    """Return the most important figures, one row for each instrument and horizon."""
    levels = levels_of(scores)
    head = ["instrument", "h", "n", "RMSE", "last price", "ratio", "skill", "p", "copy", *(f"{lv}%" for lv in levels)]
    if levels:
        head += ["pinball/RW"]
    rows = []
    for s in scores:
        row = [*_key(s), str(s.origins), f"{s.rmse:.4g}", f"{s.rmse_last_price:.4g}"]
        row += [f"{rmse_ratio(s):.4f}", f"{s.skill:+.4f}", format_number(s.skill_p_value), f"{s.copy_ratio:.2f}"]
        row += [format_number(s.coverage.get(str(level)), 1) for level in levels]
        if s.pinball is not None and s.pinball_random_walk:
            row += [f"{s.pinball / s.pinball_random_walk:.4f}"]
        rows.append(row)
    note = (
        "h: horizon in steps. n: number of forecasts. RMSE, last price: RMSE of the median and of repeating the last "
        "price, in price units. ratio: the former RMSE divided by the latter. skill: 1 − MSE/MSE of repeating the last "
        "price, in log returns. p: one-sided p-value of the skill (Diebold-Mariano). copy: mean distance of the "
        "forecasts from the last price divided by that of the outcomes; at 0, forecasts repeat the last price. N%: "
        "percentage of outcomes inside the N% interval. pinball/RW: pinball loss divided by that of a random walk with "
        "EWMA volatility."
    )
    return Table("Overview", note, head, rows)


def detail_tables(scores: Sequence[Score]) -> list[Table]:
    """Return all other figures. Tables by volatility and by fold have only the shortest and the longest horizon."""
    ends = {horizon for score in scores for horizon in (1, max(s.horizon for s in scores if s.seen is score.seen))}
    at_ends = [score for score in scores if score.horizon in ends]
    tables = [_point_table(scores), _direction_table(scores), _point_baseline_table(scores)]
    if levels_of(scores):
        tables += [_interval_table(scores), _interval_baseline_table(scores), _volatility_table(at_ends)]
    return [table for table in [*tables, _fold_table(at_ends)] if table.rows]


def levels_of(scores: Sequence[Score]) -> list[int]:
    """Return the interval levels of all scores, in ascending order and without duplicates."""
    return sorted({int(level) for score in scores for level in score.coverage})


def _point_table(scores: Sequence[Score]) -> Table:
    head = ["instrument", "h", "MAE", "last price", "MASE", "RMSSE", "skill", "p", "p nested"]
    rows = []
    for s in scores:
        row = [*_key(s), f"{s.mae:.4g}", f"{s.mae_last_price:.4g}", format_number(s.mase), format_number(s.rmsse)]
        row += [f"{s.skill:+.4f}", format_number(s.skill_p_value), format_number(s.skill_p_value_nested)]
        rows.append(row)
    note = (
        "MAE, last price: MAE of the median and of repeating the last price, in price units. MASE, RMSSE: MAE and RMSE "
        "divided by the size of one-step changes before the first forecast. p: p-value of a one-sided Diebold-Mariano "
        "test (Harvey-Leybourne-Newbold correction, Bartlett window). p nested: p-value of a one-sided Clark-West "
        "test."
    )
    return Table("Point forecasts", note, head, rows)


def _direction_table(scores: Sequence[Score]) -> Table:
    head = ["instrument", "h", "copy", "r last", "r next", "steps", "hit rate", "majority"]
    rows = []
    for s in scores:
        row = [*_key(s), f"{s.copy_ratio:.3f}", f"{s.correlation_last:.5f}", f"{s.correlation_next:.5f}"]
        if s.direction is None:
            row += ["0", "no direction", MISSING]
        else:
            row += [str(s.direction.steps), format_proportion(s.direction.hit_rate), f"{s.direction.majority:.1f}"]
        rows.append(row)
    note = (
        "copy: as in the overview. r last, r next: correlation of the forecasts with the last and with the actual "
        "prices. steps: number of steps with a forecast direction and a price change; a median that repeats the last "
        "price forecasts no direction. hit rate: percentage of correct directions, with Wilson's confidence interval, "
        "which is too narrow beyond one step because forecasts overlap. majority: hit rate of always forecasting the "
        "more frequent direction."
    )
    return Table("Lag and direction", note, head, rows)


def _point_baseline_table(scores: Sequence[Score]) -> Table:
    names = list(dict.fromkeys(row.baseline for s in scores for row in s.point_baselines))
    rows = []
    for s in scores:
        if s.point_baselines:
            ratios = [format_ratio(r.rmse_ratio, r.low, r.high) for r in s.point_baselines]
            rows.append([*_key(s), *ratios, *[MISSING] * (len(names) - len(ratios))])
    note = (
        "RMSE(model)/RMSE(baseline) in log returns, with a 95% confidence interval from a stationary bootstrap. Below "
        "1, the model is better. Drift, AR(1) and ridge are fitted to the first half of the series, and compared with "
        "the model on the second half."
    )
    return Table("Median against baselines", note, ["instrument", "h", *names], rows)


def _interval_table(scores: Sequence[Score]) -> Table:
    levels = levels_of(scores)
    head = ["instrument", "h", *(f"{level}%" for level in levels), "pinball", "CRPS", *(f"W{lv}" for lv in levels)]
    rows = []
    for s in scores:
        row = [*_key(s), *(format_proportion(s.coverage_interval.get(str(level))) for level in levels)]
        row += [format_percent(s.pinball), format_percent(s.crps)]
        rows.append([*row, *(format_percent(s.winkler.get(str(level))) for level in levels)])
    note = (
        "N%: percentage of outcomes inside the N% interval, with its exact binomial confidence interval. pinball, CRPS "
        "(integrated over the available quantiles) and WN (Winkler score of the N% interval): in percent of the last "
        "price."
    )
    return Table("Intervals", note, head, rows)


def _interval_baseline_table(scores: Sequence[Score]) -> Table:
    levels = [level for level in levels_of(scores) if level in SUMMARY_LEVELS]
    head = ["instrument", "h", "baseline", "n", "pinball", "p", "CRPS", *(f"W{level}" for level in levels)]
    rows = []
    for s in scores:
        for r in s.interval_baselines:
            row = [*_key(s), r.baseline, str(r.origins), format_ratio(r.pinball_ratio, r.low, r.high)]
            row += [format_number(r.p_value), f"{r.crps_ratio:.4f}"]
            rows.append([*row, *(format_number(r.winkler_ratio.get(str(level)), 4) for level in levels)])
    note = (
        "Loss(model)/loss(baseline). Below 1, the model is better. pinball: ratio of pinball losses, with a 95% "
        "confidence interval from a stationary bootstrap. p: p-value of a one-sided Diebold-Mariano test. WN: ratio of "
        "the Winkler scores of the N% interval. GARCH-t, a GARCH(1,1) with Student's t distribution, is fitted to the "
        "first half of the series, and compared with the model on the second half. Its variance over h steps is the "
        "sum of the h expected variances, and its distribution has the same shape at every horizon."
    )
    return Table("Quantiles against baselines", note, head, rows)


def _volatility_table(scores: Sequence[Score]) -> Table:
    levels = levels_of(scores)
    head = ["instrument", "h", "volatility", "up to", "n", *(f"{level}%" for level in levels)]
    rows = []
    for s in scores:
        for t in s.coverage_by_volatility:
            row = [*_key(s), t.volatility, format_percent(t.greatest), str(t.origins)]
            rows.append([*row, *(format_proportion(t.coverage.get(str(level))) for level in levels)])
    note = (
        "Coverage in each third of the windows, grouped by EWMA volatility. up to: highest volatility in the third, in "
        "percent per step. N%: as in the table of intervals."
    )
    return Table("Coverage by volatility", note, head, rows)


def _fold_table(scores: Sequence[Score]) -> Table:
    levels = [level for level in levels_of(scores) if level in SUMMARY_LEVELS]
    has_levels = bool(levels_of(scores))
    head = ["instrument", "h", "from", "to", "n", "skill", "ratio", *(f"{level}%" for level in levels)]
    head += ["pinball/RW"] if has_levels else []
    rows = []
    for s in scores:
        for f in s.folds:
            row = [*_key(s), str(f.first_date or MISSING), str(f.last_date or MISSING), str(f.origins)]
            row += [f"{f.skill:+.4f}", f"{f.rmse_ratio:.4f}"]
            row += [format_number(f.coverage.get(str(level)), 1) for level in levels]
            rows.append(row + ([format_number(f.pinball_ratio, 4)] if has_levels else []))
    return Table("Folds", "Five consecutive parts of the forecasts. The columns are those of the overview.", head, rows)


def _key(score: Score) -> list[str]:
    return [score.instrument, str(score.horizon)]
