"""Tables as LaTeX and the choice of charts."""

from itertools import pairwise

import pytest

from desdis_match.errors import InputError
from desdis_match.evaluate.latex import to_latex
from desdis_match.evaluate.output import chosen_charts
from desdis_match.evaluate.patches.hpatches import tables
from desdis_match.evaluate.patches.hpatches_scores import POOL_SIZES
from desdis_match.evaluate.plots import draw_charts
from desdis_match.evaluate.results import Chart, Column, Series, Table


def test_latex_has_the_best_of_a_column_in_bold_and_its_signs_escaped():
    columns = (Column("a_b & c"), Column("AP %", ".2f", "high"), Column("ms", ".1f", "low"))
    table = Table("t", columns, (("desdis_16", 0.5, 3.0), ("x", 0.25, 1.0), ("y", None, 2.0)))
    assert to_latex([table], "desdis-match evaluate t") == "\n".join(
        [
            "% desdis-match evaluate t",
            "% needs \\usepackage{booktabs}",
            "",
            "% t",
            "\\begin{tabular}{lrr}",
            "\\toprule",
            "a\\_b \\& c & AP \\% & ms \\\\",
            "\\midrule",
            "desdis\\_16 & \\textbf{0.50} & 3.0 \\\\",
            "x & 0.25 & \\textbf{1.0} \\\\",
            "y & - & 2.0 \\\\",
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def test_none_of_equals_is_bold():
    table = Table("t", (Column("failed", "d", "low"),), ((0,), (0,)))
    assert "textbf" not in to_latex([table], "")


def bars(names):
    return [Chart("t", "bars", "", "y", tuple(Series(s, tuple(names), (1.0, 2.0, 3.0)) for s in "ab"))]


def figure_of(charts, size, monkeypatch):
    """The figure that `draw_charts` writes, drawn."""
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    draw_charts(charts, "png", size)
    drawn[0].draw_without_rendering()
    return drawn[0]


@pytest.mark.parametrize("size", [(3.3, 2.4), (6.5, 4.2)])
def test_names_below_bars_do_not_overlap(size, monkeypatch):
    names = ["verification AUC", "verification AP", "matching mAP"]
    (axes,) = figure_of(bars(names), size, monkeypatch).axes
    texts = axes.get_xticklabels()
    assert [text.get_text() for text in texts] == names
    if texts[0].get_rotation() == 0:
        boxes = [text.get_window_extent() for text in texts]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert (texts[0].get_rotation() == 0) == (size[0] > 4)


def test_all_charts_have_one_legend_above_them(monkeypatch):
    figure = figure_of(bars("abc") * 2, (3, 2), monkeypatch)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert all(axes.get_legend() is None for axes in figure.axes)
    assert legend.get_window_extent().y0 >= max(axes.get_window_extent().y1 for axes in figure.axes)


def test_shares_of_all_begin_at_none(monkeypatch):
    line = Series("s", (1.0, 2.0), (0.4, 1.0))
    charts = [Chart("t", "lines", "degrees", "share of pairs", (line,))]
    (axes,) = figure_of(charts, (3, 2), monkeypatch).axes
    assert axes.get_ylim()[0] == 0


def test_charts_by_words_of_their_titles():
    charts = [Chart(t, "lines", "x", "y", (Series("s", (0.0, 1.0), (0.0, 1.0)),)) for t in ("MMA", "ROC, a")]
    assert [c.title for c in chosen_charts(charts, "roc")] == ["ROC, a"]
    assert len(chosen_charts(charts, "")) == 2
    with pytest.raises(InputError, match="there are 'MMA', 'ROC, a'"):
        chosen_charts(charts, "bars")


def test_a_chart_has_the_size_asked_for():
    charts = [Chart("t", "lines", "x", "y", (Series("s", (0.0, 1.0), (0.0, 1.0)),))]
    png = draw_charts(charts, "png", (3.0, 2.0))
    width, height = (int.from_bytes(png[k : k + 4], "big") for k in (16, 20))
    assert (width, height) == (330, 220)  # at 110 dots an inch


def test_retrieval_is_shown_in_pools_that_are_full():
    score = {"retrieval": {"mAP": {"mean": {str(k): 0.5 for k in POOL_SIZES}}}}
    (table,) = tables({"a": score}, "demo", num_distractors=995)
    assert [column.name for column in table.columns] == ["descriptor", "of 100", "of 500", "of 1000"]
