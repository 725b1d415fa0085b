"""The arithmetic of comparing two trees, and the order in which they are measured."""

import json
import math
from pathlib import Path

import pytest

from benchmarks.processes import ROOT
from benchmarks.scenarios.against_commit import (
    Figures,
    NotComparable,
    Pair,
    check_tree,
    format_pair,
    format_summaries,
    measure_pairs,
    summarize,
    summarize_pairs,
    write_bodies,
)

FAST = Figures(requests_per_s=3000.0, cpu_us_per_request=100.0, ready_s=1.0, rss_mib=200.0)
SLOW = Figures(requests_per_s=2000.0, cpu_us_per_request=125.0, ready_s=2.0, rss_mib=160.0)


def test_ratios_divide_this_tree_by_the_other() -> None:
    assert Pair(FAST, SLOW).ratios() == {
        "requests_per_s": 1.5,
        "cpu_us_per_request": 0.8,
        "ready_s": 0.5,
        "rss_mib": 1.25,
    }


def test_summary_has_median_range_and_geometric_mean() -> None:
    found = summarize([0.5, 1.0, 4.0])
    assert (found.median, found.low, found.high) == (1.0, 0.5, 4.0)
    assert found.mean == pytest.approx(2 ** (1 / 3))
    assert found.mean_low < found.mean < found.mean_high


def test_interval_is_student_t_of_log_ratios() -> None:
    found = summarize([math.exp(x) for x in (-0.01, 0.0, 0.01, 0.02, 0.03)])
    half = 2.1318468 * math.sqrt(0.00025 / 5)  # t of 4 degrees of freedom at 95%; variance of the five logarithms
    assert math.log(found.mean_low) == pytest.approx(0.01 - half)
    assert math.log(found.mean_high) == pytest.approx(0.01 + half)


def test_summary_of_the_reverse_comparison_is_the_reciprocal() -> None:
    ratios = [0.9, 1.1, 1.2]
    forward, reverse = summarize(ratios), summarize([1 / ratio for ratio in ratios])
    assert reverse.mean == pytest.approx(1 / forward.mean)
    assert reverse.mean_low == pytest.approx(1 / forward.mean_high)


def test_equal_ratios_have_an_interval_without_width() -> None:
    found = summarize([1.25] * 3)
    assert found.mean_low == pytest.approx(1.25)
    assert found.mean_high == pytest.approx(1.25)


def test_one_pair_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least two"):
        summarize_pairs([Pair(FAST, SLOW)])


def test_pairs_alternate_the_order_of_the_trees() -> None:
    this, other = Path("this"), Path("other")
    measured: list[Path] = []

    def measure(tree: Path) -> Figures:
        measured.append(tree)
        return FAST if tree == this else SLOW

    pairs = list(measure_pairs(measure, this, other, 3))
    assert measured == [this, other, other, this, this, other]
    assert pairs == [Pair(FAST, SLOW)] * 3


def test_report_has_a_line_for_each_pair_and_figure() -> None:
    pair = Pair(FAST, SLOW)
    assert "requests_per_s 3,000 / 2,000 = 1.500" in format_pair(1, pair)
    lines = format_summaries(summarize_pairs([pair, pair])).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["requests_per_s", "cpu_us_per_request", "ready_s", "rss_mib"]
    assert "1.500  (1.500 to 1.500)" in lines[1]
    assert lines[1].endswith("1.500 to 1.500")


def test_bodies_are_requests_of_one_window_each_and_all_differ(tmp_path: Path) -> None:
    write_bodies(path := tmp_path / "bodies.jsonl")
    lines = path.read_text().splitlines()
    assert len(set(lines)) == len(lines) > 1000
    assert {len(json.loads(line)["prices"]) for line in lines[:10]} == {60}


def test_tree_without_app_package_is_rejected(tmp_path: Path) -> None:
    assert check_tree(ROOT)
    with pytest.raises(NotComparable, match="imports nothing"):
        check_tree(tmp_path)
