"""Losses against hand-computed values and slow plain loops; what mining may pick; where gradients go."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from desdis_match.distill import losses
from desdis_match.distill.mining import hardest_negatives, may_match
from desdis_match.distill.objective import LossConfig, batch_loss, regularizer_weight
from desdis_match.errors import InputError


def units(seed: int, count: int = 12, dim: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, dim, generator=generator, dtype=torch.float64), dim=1)


def apart(count: int) -> torch.Tensor:
    """The mask of a batch whose points are all different."""
    return may_match(torch.arange(count) * 10, torch.zeros(count, dtype=torch.int64))


def on_circle(*degrees: float) -> torch.Tensor:
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def slow_hardest(cosines: torch.Tensor, blocked: torch.Tensor) -> list[tuple[int, int]]:
    chosen = []
    for i in range(len(cosines)):
        candidates = [(i, j) for j in range(len(cosines)) if not blocked[i, j]]
        candidates += [(k, i) for k in range(len(cosines)) if not blocked[k, i]]
        chosen.append(max(candidates, key=lambda place: float(cosines[place])))
    return chosen


def test_mask_blocks_equal_and_doubtful_points_only():
    blocked = may_match(torch.tensor([0, 0, 4, 9, 14]), torch.tensor([4, 4, 4, 4, 0]))
    expected = torch.tensor(
        [
            [1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 0, 1],
        ],
        dtype=torch.bool,
    )
    assert torch.equal(blocked, expected)


@pytest.mark.parametrize("seed", range(5))
def test_hardest_negatives_agree_with_a_loop_and_never_are_positives(seed):
    anchors, positives = units(seed), units(seed + 100)
    groups = torch.tensor([0, 1, 2, 3, 3, 20, 30, 40, 41, 50, 60, 70])
    blocked = may_match(groups, torch.full((12,), 1))
    cosines = anchors @ positives.T
    rows, columns = hardest_negatives(cosines, blocked)
    expected = [float(cosines[place]) for place in slow_hardest(cosines, blocked)]
    assert cosines[rows, columns].tolist() == pytest.approx(expected)
    assert not blocked[rows, columns].any()
    assert all(i in (int(r), int(c)) for i, (r, c) in enumerate(zip(rows, columns, strict=True)))


def test_a_pair_without_any_negative_says_so():
    blocked = torch.ones(3, 3, dtype=torch.bool)
    rows, columns = hardest_negatives(torch.rand(3, 3), blocked)
    assert rows.tolist() == columns.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="no pair of a batch has a negative"):
        batch_loss(units(0, 3), units(1, 3), blocked, LossConfig())


def test_triplet_by_hand():
    # Anchors at 0 and 90 degrees, positives at 60 and 150: d(a_i, p_i) = 2 sin 30 = 1 for both. Cosines of
    # strangers: a_0 . p_1 = cos 150, a_1 . p_0 = cos 30, so the hardest of both pairs is (a_1, p_0).
    anchors, positives = on_circle(0, 90), on_circle(60, 150)
    rows, columns = hardest_negatives(anchors @ positives.T, apart(2))
    assert rows.tolist() == [1, 1] and columns.tolist() == [0, 0]
    found = batch_loss(anchors, positives, apart(2), LossConfig(regularizer_weight=0))
    assert found.total.item() == pytest.approx(1 + 1 - 2 * math.sin(math.radians(15)), abs=1e-6)


def test_triplets_against_a_loop():
    positive, negative = torch.rand(9) * 2, torch.rand(9) * 2
    hinges = [max(0.0, 0.7 + p - n) for p, n in zip(positive.tolist(), negative.tolist(), strict=True)]
    assert losses.triplet_loss(positive, negative, 0.7).item() == pytest.approx(sum(hinges) / 9, rel=1e-6)
    squares = sum(hinge**2 for hinge in hinges) / 9
    assert losses.squared_triplet_loss(positive, negative, 0.7).item() == pytest.approx(squares, rel=1e-6)


def test_second_order_similarity_against_a_loop():
    anchors, positives, blocked, count = units(3), units(4), apart(12), 3
    total = 0.0
    distance = {
        "a": [[float((x - y).norm()) for y in anchors] for x in anchors],
        "p": [[float((x - y).norm()) for y in positives] for x in positives],
    }

    def near(kind: str, i: int, j: int) -> bool:
        others = sorted((distance[kind][i][k], k) for k in range(12) if k != i)
        return j in [k for _, k in others[:count]]

    for i in range(12):
        terms = [
            (distance["a"][i][j] - distance["p"][i][j]) ** 2
            for j in range(12)
            if j != i and any(near(kind, *order) for kind in "ap" for order in ((i, j), (j, i)))
        ]
        total += math.sqrt(sum(terms)) / 12
    assert losses.second_order_similarity(anchors, positives, blocked, count).item() == pytest.approx(
        total, rel=1e-5
    )


def test_hybrid_similarity_by_hand_and_its_steepest_slope_is_one():
    # At theta = 180 degrees: c = -1, d = 2, so (2 * 2 + 2) / Z; at 0: only the floor of d remains.
    scale = losses.hybrid_scale(2.0)
    ends = losses.hybrid_similarity(torch.tensor([-1.0, 1.0], dtype=torch.float64), 2.0)
    assert ends[0].item() == pytest.approx(6 / scale)
    assert ends[1].item() == pytest.approx(0.001 / scale, rel=1e-6)
    theta = torch.linspace(0.01, math.pi - 0.01, 20001, dtype=torch.float64, requires_grad=True)
    losses.hybrid_similarity(theta.cos(), 2.0).sum().backward()
    assert theta.grad.max().item() == pytest.approx(1.0, abs=1e-6)
    assert losses.hybrid_scale(0.0) == 1.0


@pytest.mark.parametrize("measure", ["distance", "cosine"])
@pytest.mark.parametrize("form", ["squared", "absolute"])
@pytest.mark.parametrize("which", ["hardest", "all"])
def test_regularizer_against_a_loop(measure, form, which):
    student, teacher = units(1) @ units(2).T, units(5) @ units(6).T
    blocked = may_match(torch.tensor([0, 1, 9, 20, 30, 40, 50, 60, 70, 80, 90, 99]), torch.ones(12).long())
    negatives = hardest_negatives(student, blocked) if which == "hardest" else "all"

    def rho(i: int, j: int) -> float:
        s, t = float(student[i, j]), float(teacher[i, j])
        if measure == "distance":
            s, t = math.sqrt(2 - 2 * s), math.sqrt(2 - 2 * t)
        return (s - t) ** 2 if form == "squared" else abs(s - t)

    if which == "hardest":
        places = slow_hardest(student, blocked)
    else:
        places = [(i, j) for i in range(12) for j in range(12) if not blocked[i, j]]
    expected = sum(rho(i, i) for i in range(12)) / 12 + sum(rho(*place) for place in places) / len(places)
    found = losses.teacher_regularizer(student, teacher, blocked, negatives, measure, form)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_regularizer_by_hand():
    # Positives: student cosine 1, teacher 0.5; the two negatives: student 0, teacher 0.3 and -0.1.
    student, teacher = torch.eye(2), torch.tensor([[0.5, 0.3], [-0.1, 0.5]])
    found = losses.teacher_regularizer(student, teacher, apart(2), "all", "cosine", "absolute")
    assert found.item() == pytest.approx(0.5 + (0.3 + 0.1) / 2)


@pytest.mark.parametrize("kind", ["hardnet", "sosnet", "hynet"])
@pytest.mark.parametrize("measure", ["distance", "cosine"])
def test_gradients_reach_the_student_and_never_the_teacher(kind, measure):
    raw = [units(seed).float().requires_grad_() for seed in (1, 2)]
    teacher = (units(3) @ units(4).T).float().requires_grad_()
    config = LossConfig(kind=kind, measure=measure, negatives="hardest")
    parts = batch_loss(*(normalize(x, dim=1) for x in raw), apart(12), config, teacher)
    parts.total.backward()
    assert all(x.grad is not None and bool((x.grad.abs().sum(dim=1) > 0).all()) for x in raw)
    assert teacher.grad is None


def test_gradient_stays_finite_where_descriptors_are_equal():
    same = units(1).float().requires_grad_()
    parts = batch_loss(same, same, apart(12), LossConfig(kind="sosnet", measure="distance"), torch.eye(12))
    parts.total.backward()
    assert torch.isfinite(same.grad).all()


def test_loss_is_its_parts_weighted_and_the_schedule_ends_at_zero():
    anchors, positives, teacher = units(1), units(2), units(3) @ units(4).T
    for schedule, left in (
        ("constant", 1.0),
        ("linear", 0.75),
        ("cosine", 0.5 * (1 + math.cos(math.pi / 4))),
    ):
        config = LossConfig(weight=0.5, regularizer_weight=8.0, schedule=schedule)
        assert regularizer_weight(config, 0.25) == pytest.approx(8 * left)
        parts = batch_loss(anchors, positives, apart(12), config, teacher, progress=0.25)
        assert parts.total.item() == pytest.approx(
            0.5 * parts.triplet.item() + 8 * left * parts.regularizer.item(), rel=1e-6
        )
    assert regularizer_weight(LossConfig(schedule="linear"), 1.0) == 0
    assert regularizer_weight(LossConfig(schedule="cosine"), 1.0) == pytest.approx(0)


def test_a_teacher_that_agrees_costs_nothing():
    anchors, positives = units(1), units(2)
    parts = batch_loss(anchors, positives, apart(12), LossConfig(), (anchors @ positives.T).float())
    assert parts.regularizer.item() == pytest.approx(0, abs=1e-12)
