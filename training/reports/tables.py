"""Tables for the terminal and for HTML pages, and functions that format their cells."""

import html
from typing import NamedTuple

from app.artifact.evidence import Proportion

MISSING = "-"


class Table(NamedTuple):
    """A table whose cells are text."""

    title: str
    note: str  # explains the columns
    head: list[str]
    rows: list[list[str]]

    def to_text(self) -> str:
        """Return the head and the rows as right-aligned text. A row may have fewer cells than the head."""
        lines = [self.head, *self.rows]
        widths = [max(len(row[i]) for row in lines if i < len(row)) for i in range(len(self.head))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False)) for row in lines
        )

    def to_html(self) -> str:
        """Return the title, the note and the table as HTML."""
        head, *rows = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            for tag, row in (("th", self.head), *(("td", row) for row in self.rows))
        )
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        return (
            f"<h3>{html.escape(self.title)}</h3>\n<p>{html.escape(self.note)}</p>\n"
            f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'
        )


def format_number(value: float | None, digits: int = 3) -> str:
    """Format a number with this many decimal places."""
    return MISSING if value is None else f"{value:.{digits}f}"


def format_percent(value: float | None) -> str:
    """Format a fraction as a percentage, without a percent sign."""
    return MISSING if value is None else f"{100 * value:.3f}"


def format_proportion(proportion: Proportion | None) -> str:
    """Format a percentage with its confidence interval."""
    if proportion is None:
        return MISSING
    return f"{proportion.percent:.1f} [{proportion.low:.1f}, {proportion.high:.1f}]"


def format_ratio(ratio: float, low: float, high: float) -> str:
    """Format a ratio with its confidence interval."""
    return f"{ratio:.4f} [{low:.4f}, {high:.4f}]"
