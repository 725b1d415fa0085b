"""Tests of the table format."""

from training.reports.tables import Table


def test_to_html_escapes_every_text() -> None:
    found = Table("A & B", "a < b", ["<i>", "x"], [["1", "&"], ["2", "3"]]).to_html()
    assert found == (
        "<h3>A &amp; B</h3>\n<p>a &lt; b</p>\n"
        '<div class="wide"><table>\n<tr><th>&lt;i&gt;</th><th>x</th></tr>\n'
        "<tr><td>1</td><td>&amp;</td></tr>\n<tr><td>2</td><td>3</td></tr>\n</table></div>"
    )
