"""What all charts have in common: names that do not lie on each other, colours that differ."""

import matplotlib
import numpy as np
import pytest

from desdis_match.viz.style import (
    COLOURS,
    LINE_HEIGHT,
    axes_of,
    label_lines,
    label_points,
    spread,
    styled,
    use_style,
)

matplotlib.use("Agg")


@pytest.fixture
def axis():
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 3))
    yield axis
    plt.close(figure)


def test_heights_are_moved_as_little_as_keeps_them_apart():
    assert spread([0.9, 0.1, 0.5], 0.2) == [0.9, 0.1, 0.5]
    np.testing.assert_allclose(spread([0.5, 0.5], 0.2), [0.4, 0.6])
    # The three below push each other apart about their mean; the one above is not reached.
    np.testing.assert_allclose(spread([0.3, 0.32, 0.28, 0.9], 0.1), [0.3, 0.4, 0.2, 0.9])


def test_names_of_lines_stand_at_their_ends_in_their_colour(axis):
    for name, end in (("one", 0.5), ("two", 0.51), ("three", 0.9)):
        axis.plot([0, 1], [0, end], label=name)
    axis.plot([0, 1], [0, 0.2])  # without a name
    label_lines(axis, size=8)
    heights = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert list(heights) == ["one", "two", "three"] and axis.get_legend() is None
    gap = LINE_HEIGHT * 8 / (axis.get_window_extent().height / axis.figure.dpi * 72)
    assert heights["two"] - heights["one"] == pytest.approx(gap)
    assert [text.get_color() for text in axis.texts] == [line.get_color() for line in axis.get_lines()[:3]]


def test_names_of_points_lie_on_no_other_and_on_no_point(axis):
    points = [
        (0.50, 0.50, "first"),
        (0.52, 0.52, "second"),
        (0.5, 0.53, "third"),
        (0.999, 0.2, "at the edge"),
    ]
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.plot([p[0] for p in points], [p[1] for p in points], "o")
    label_points(axis, points)
    assert [text.get_color() for text in axis.texts] == ["black"] * 4
    boxes = [text.get_window_extent() for text in axis.texts]
    assert [text.get_text() for text in axis.texts] == [name for *_, name in points]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    frame = axis.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_names_of_points_lie_on_no_line(axis):
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.plot([0.2, 0.5, 0.8], [0.5, 0.5, 0.5], "o-")
    label_points(axis, [(0.2, 0.5, "first"), (0.5, 0.5, "middle"), (0.8, 0.5, "last")], ["red"] * 3)
    middle = axis.transData.transform((0.5, 0.5))[1]
    boxes = [text.get_window_extent() for text in axis.texts]
    assert all(box.y0 > middle or box.y1 < middle for box in boxes[:2])
    assert [text.get_color() for text in axis.texts] == ["red"] * 3


def test_the_style_is_set_within_its_context_alone(axis):
    before = matplotlib.rcParams["axes.prop_cycle"]
    with styled():
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(COLOURS)
    assert matplotlib.rcParams["axes.prop_cycle"] == before
    with matplotlib.rc_context():  # a notebook's
        use_style()
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(COLOURS)
    axes_of(axis, "title", "across", "up")
    assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("title", "across", "up")
    shown = {name for name, spine in axis.spines.items() if spine.get_visible()}
    assert shown == {"left", "bottom"}
