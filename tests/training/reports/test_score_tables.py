"""Tests of the tables of scores: aligned, complete, and with a dash for a missing figure."""

from app.artifact.evidence import DirectionalAccuracy, Proportion
from tests.training.conftest import daily_dates, make_backtest, make_score, make_series
from training.data.simulator import random_walk
from training.evaluation.scoring import score_backtest
from training.reports.score_tables import detail_tables, overview_table
from training.reports.tables import Table


def test_overview_table_is_right_aligned() -> None:
    covered = {"80": 80.123, "95": 95.0}
    large = {"rmse": 1234.5, "rmse_last_price": 1e-3, "skill": -12.5, "copy_ratio": 31.4, "origins": 123456}
    scores = [
        make_score(coverage=covered, pinball=0.5, pinball_random_walk=0.4, skill_p_value=0.0123, skill=0.01),
        make_score(
            instrument="long name", horizon=12, coverage=covered, pinball=0.25, pinball_random_walk=0.5, **large
        ),
    ]
    lines = overview_table(scores).to_text().splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == [
        *("instrument", "h", "n", "RMSE", "last", "price", "ratio", "skill", "p", "copy", "80%", "95%", "pinball/RW")
    ]
    assert lines[1].split() == [
        *("made", "1", "100", "2", "2", "1.0000", "+0.0100", "0.012", "0.00", "80.1", "95.0", "1.2500")
    ]
    assert lines[2].split()[2:] == [
        *("12", "123456", "1234", "0.001", "1234500.0000", "-12.5000", "-", "31.40", "80.1", "95.0", "0.5000")
    ]
    for head in ("RMSE", "last price", "ratio", "skill", "copy", "80%"):
        end = lines[0].index(head) + len(head)
        assert all(line[end - 1] != " " and line[end : end + 2].strip() == "" for line in lines)


def test_overview_table_without_levels_has_no_level_columns() -> None:
    head, row = overview_table([make_score()]).to_text().splitlines()
    assert head.split()[-1] == "copy"
    assert row.split()[-2:] == ["-", "0.00"]


def test_overview_table_row_without_random_walk_ends_early() -> None:
    lines = overview_table([make_score(coverage={"80": 80.0}, pinball=0.5)]).to_text().splitlines()
    assert lines[0].endswith("80%  pinball/RW")
    assert lines[1].endswith("80.0")


def test_overview_table_missing_level_is_a_dash() -> None:
    (row,) = overview_table([make_score()]).rows
    assert row[-1] == "0.00"
    with_level = make_score(coverage={"80": 81.0})
    assert [row[9] for row in overview_table([make_score(), with_level]).rows] == ["-", "81.0"]


def rows_of(found: list[Table], title: str) -> list[list[str]]:
    (table,) = (each for each in found if each.title == title)
    assert all(len(row) == len(table.head) for row in table.rows)
    return table.rows


def test_detail_tables_contain_every_figure() -> None:
    rows = 800
    series = make_series(random_walk(1, rows, 1)[0].prices, dates=daily_dates("2020-01-01", rows))
    scores = score_backtest(make_backtest(series, [50, 80, 95], horizon=6))
    found = detail_tables(scores)
    assert [table.title for table in found] == [
        *("Point forecasts", "Lag and direction", "Median against baselines", "Intervals"),
        *("Quantiles against baselines", "Coverage by volatility", "Folds"),
    ]
    first = scores[0]
    point = rows_of(found, "Point forecasts")
    assert [row[:2] for row in point] == [["made", "1"], ["made", "5"], ["made", "6"]]
    assert point[0][4:6] == [f"{first.mase:.3f}", f"{first.rmsse:.3f}"]
    assert rows_of(found, "Lag and direction")[0][2:] == [
        *("0.000", "1.00000", f"{first.correlation_next:.5f}", "0", "no direction", "-")
    ]
    against = first.point_baselines[1]
    assert rows_of(found, "Median against baselines")[0][3] == (
        f"{against.rmse_ratio:.4f} [{against.low:.4f}, {against.high:.4f}]"
    )
    share = first.coverage_interval["80"]
    assert rows_of(found, "Intervals")[0][3] == f"{share.percent:.1f} [{share.low:.1f}, {share.high:.1f}]"
    assert rows_of(found, "Intervals")[0][6] == f"{100 * first.crps:.3f}" if first.crps else None
    assert len(rows_of(found, "Quantiles against baselines")) == 3 * 3
    assert [row[1:3] for row in rows_of(found, "Coverage by volatility")] == [
        [h, third] for h in ("1", "6") for third in ("low", "middle", "high")
    ]
    folds = rows_of(found, "Folds")
    assert [row[1] for row in folds] == ["1"] * 5 + ["6"] * 5
    assert folds[0][2] == "2020-03-01"
    assert folds[0][-1] == f"{first.folds[0].pinball_ratio:.4f}"


def test_direction_table_shows_hit_rate_and_majority() -> None:
    share = Proportion(percent=55.0, low=50.1, high=59.9)
    score = make_score(direction=DirectionalAccuracy(steps=400, hit_rate=share, majority=52.5))
    rows = rows_of(detail_tables([score]), "Lag and direction")
    assert rows[0][-3:] == ["400", "55.0 [50.1, 59.9]", "52.5"]


def test_detail_tables_without_levels_and_baselines() -> None:
    assert [table.title for table in detail_tables([make_score()])] == ["Point forecasts", "Lag and direction"]


def test_point_baseline_table_missing_baselines_are_dashes() -> None:
    long, short = (score_backtest(make_backtest(random_walk(1, rows, 1)[0], []))[0] for rows in (400, 150))
    rows = rows_of(detail_tables([long, short]), "Median against baselines")
    assert rows[1][-3:] == ["-", "-", "-"]
    folds = rows_of(detail_tables([long, short]), "Folds")
    assert folds[0][2:4] == ["-", "-"]  # without dates
    assert len(folds[0]) == 7  # without levels
