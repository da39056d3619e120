"""Tables as LaTeX and the choice of charts."""

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
