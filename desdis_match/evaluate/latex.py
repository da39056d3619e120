"""Tables of a result as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from .results import Table, best_value

ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "\u00b0": r"\textdegree{}",
    "\u2265": r"$\geq$",
}
"""What LaTeX writes otherwise."""


def to_latex(tables: Sequence[Table], command: str) -> str:
    """All tables, for booktabs; the best number of a column is bold. command: that made them, a comment."""
    parts = [f"% {command}\n% needs \\usepackage{{booktabs}}"]
    for table in tables:
        align = "".join("r" if column.format else "l" for column in table.columns)
        head = " & ".join(escaped(column.name) for column in table.columns)
        best = [best_value(table, i) for i in range(len(table.columns))]
        rows = []
        for row, text in zip(table.rows, table.text(), strict=True):
            cells = [
                rf"\textbf{{{escaped(t)}}}" if b is not None and v == b else escaped(t)
                for t, v, b in zip(text, row, best, strict=True)
            ]
            rows.append(" & ".join(cells) + r" \\")
        lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", head + r" \\", r"\midrule", *rows]
        parts.append("\n".join([f"% {table.title}", *lines, r"\bottomrule", r"\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text with LaTeX's own signs written out."""
    return "".join(ESCAPED.get(sign, sign) for sign in text)
