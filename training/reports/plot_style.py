"""The style that all charts share: colors, axes, legends and the PNG format."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

MODEL, REAL, BASELINE = "#c2410c", "#111827", "#6b7280"
LINE_COLORS = ("#c2410c", "#1d4ed8", "#047857", "#7e22ce", "#ca8a04", "#0e7490", "#be185d", "#4d7c0f")
LINE_STYLES = ("-", "--", ":")
DPI = 100
PNG_COLORS = 255


def line_color(i: int) -> str:
    """Return the color of the i-th line. Colors repeat after the last one."""
    return LINE_COLORS[i % len(LINE_COLORS)]


def line_style(i: int) -> str:
    """Return the style of the i-th line, which changes each time the colors repeat."""
    return LINE_STYLES[i // len(LINE_COLORS) % len(LINE_STYLES)]


def style_axes(axes: Axes) -> None:
    """Hide the top and right borders, and draw a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e5e7eb", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def set_title(axes: Axes, title: str) -> None:
    """Set the title of a chart, at its left edge."""
    axes.set_title(title, loc="left", fontsize=10)


def add_legend(figure: Figure, axes: Axes) -> None:
    """Add a legend of the lines in `axes` below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 8), frameon=False, fontsize=8)


def escape_mathtext(name: str) -> str:
    """Escape dollar signs, because Matplotlib renders text between them as a formula."""
    return name.replace("$", r"\$")


def save_png(figure: Figure, path: Path) -> None:
    """Save a figure as a PNG file with a color palette, which is a third of the size of a full-color file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    picture = Image.open(buffer).convert("RGB").quantize(PNG_COLORS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
