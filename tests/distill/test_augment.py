"""Augmentation: what it leaves unchanged, what it does by hand-computed values, that a seed repeats it."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch

from desdis_match.distill.augment import (
    NO_AUGMENTATION,
    AugmentConfig,
    augment_pairs,
    augment_patches,
    dominant_angles,
    jpeg,
    plain_patches,
    random_shapes,
    resample,
)


def picture(seed: int = 0, side: int = 64) -> torch.Tensor:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    return torch.from_numpy(cv2.GaussianBlur(noise, (0, 0), 2))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(**fields: object) -> AugmentConfig:
    return dataclasses.replace(NO_AUGMENTATION, **fields)


def test_plain_patches_are_means_of_two_by_two():
    stored = picture()[None]
    expected = cv2.resize(stored[0].numpy().astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA) / 255
    assert np.allclose(plain_patches(stored, torch.ones(1))[0, 0], expected, atol=1e-6)


def test_context_is_cut_off():
    stored = picture()[None]
    found = plain_patches(stored, torch.full((1,), 2.0))
    assert torch.allclose(found[0, 0], stored[0, 16:48, 16:48].float() / 255, atol=1e-6)


def test_a_quarter_turn_is_exact():
    stored = picture()[None]
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    # Output (x, y) shows input (-y, x): the picture turned anticlockwise as one sees it, y pointing down.
    expected = torch.rot90(plain_patches(stored, torch.ones(1)), 1, dims=(2, 3))
    assert torch.allclose(resample(stored, turn, torch.ones(1)), expected, atol=1e-6)


def test_nothing_asked_for_changes_nothing():
    stored = torch.stack([picture(seed) for seed in range(4)])
    context = torch.ones(4)
    plain = plain_patches(stored, context)
    assert torch.equal(augment_pairs(stored, context, NO_AUGMENTATION, generator()), plain)


def test_flips_are_common_to_a_pair_and_all_eight_occur():
    """Pairs of equal patches stay equal, and each is one of the eight symmetries of the patch."""
    stored = picture()[None].expand(128, 64, 64)
    found = augment_pairs(stored, torch.ones(128), only(flips=True), generator())
    assert torch.allclose(found[:64], found[64:], atol=1e-6)
    plain = plain_patches(stored[:1], torch.ones(1))[0, 0]
    symmetries = [torch.rot90(p, k) for p in (plain, plain.flip(0)) for k in range(4)]
    seen = set()
    for patch in found[:64, 0]:
        matching = [k for k, symmetry in enumerate(symmetries) if torch.allclose(patch, symmetry, atol=1e-5)]
        assert len(matching) == 1
        seen.update(matching)
    assert seen == set(range(8))


def test_turns_of_a_batch_are_common_to_its_pairs():
    """A batch shows one quarter turn, mirrored left to right or not; many batches show all eight."""
    stored = picture()[None].expand(128, 64, 64)
    plain = plain_patches(stored[:1], torch.ones(1))[0, 0]
    seen = set()
    for seed in range(40):
        found = augment_pairs(stored, torch.ones(128), only(flips=True, turns="batch"), generator(seed))
        assert torch.allclose(found[:64], found[64:], atol=1e-6)
        turned = [(k, m) for k in range(4) for m in (0, 1)]
        shown = {
            (k, m)
            for k, m in turned
            if any(
                torch.allclose(one, torch.rot90(plain.flip(1) if m else plain, k), atol=1e-5)
                for one in found[:64, 0]
            )
        }
        assert len({k for k, _ in shown}) == 1 and len(shown) == 2
        seen |= shown
    assert len(seen) == 8


def ramps(angles: torch.Tensor, side: int = 64) -> torch.Tensor:
    """(N, side, side) patches whose grey value grows along each angle, y down."""
    step = torch.linspace(-1, 1, side)
    along = angles.cos()[:, None, None] * step + angles.sin()[:, None, None] * step[:, None]
    return (127 + 80 * along).round().to(torch.uint8)


def test_dominant_angles_of_ramps_and_of_their_points():
    angles = torch.linspace(-3, 3, 30)
    found = dominant_angles(ramps(angles), torch.full((30,), 1.5), torch.arange(30))
    apart = (found - angles + math.pi) % (2 * math.pi) - math.pi
    assert apart.abs().max() < 0.02
    # Two patches of a point share its angle: that of the two that agree, not of the third.
    stored = ramps(torch.tensor([0.5, 0.5, 2.5, 1.5]))
    shared = dominant_angles(stored, torch.ones(4), torch.tensor([7, 7, 7, 3]))
    assert torch.allclose(shared, torch.tensor([0.5, 0.5, 0.5, 1.5]), atol=0.02)


@pytest.mark.parametrize("flips", [True, False])
def test_pairs_turned_by_angles_show_these_directions_along_x(flips):
    angles = torch.linspace(-3, 3, 30)
    stored, context = ramps(angles).repeat(2, 1, 1), torch.full((60,), 1.5)
    for patches in (
        augment_pairs(stored, context, only(flips=flips), generator(), angles.repeat(2)),
        plain_patches(stored, context, angles.repeat(2)),
    ):
        down, across = (patches[:, 0].diff(dim=dim).mean(dim=(1, 2)) for dim in (1, 2))
        assert (down.abs() < 0.02 * across).all()
        assert (across > 0).all()


def test_half_of_the_pairs_turned_by_angles_are_mirrored_across_x():
    stored = picture()[None].expand(128, 64, 64)
    found = augment_pairs(stored, torch.ones(128), only(flips=True), generator(), torch.zeros(128))
    plain = plain_patches(stored[:1], torch.ones(1))[0, 0]
    kept = torch.tensor([torch.allclose(one, plain, atol=1e-5) for one in found[:, 0]])
    mirrored = torch.tensor([torch.allclose(one, plain.flip(0), atol=1e-5) for one in found[:, 0]])
    assert (kept ^ mirrored).all() and torch.equal(kept[:64], kept[64:])
    assert 16 < int(kept[:64].sum()) < 48


def test_geometry_moves_a_dot_as_it_should():
    """A blob off the middle: at zoom z the output at u shows the input at z u, the blob lies at place / z."""
    stored = torch.zeros(200, 64, 64, dtype=torch.uint8)
    stored[:, 46:50, 30:34] = 255  # centre at x = 31.5, y = 47.5 of 0..63: u = 0, v = 0.5
    found = augment_patches(stored, torch.ones(200), only(zoom=0.3), generator())[:, 0]
    rows = torch.linspace(-1 + 1 / 32, 1 - 1 / 32, 32)
    places = (found * rows[None, :, None]).sum(dim=(1, 2)) / found.sum(dim=(1, 2))
    logs = torch.log2(0.5 / places)
    assert logs.mean().item() == pytest.approx(0, abs=0.08)
    assert logs.std().item() == pytest.approx(0.3, rel=0.25)
    across = (found * rows[None, None, :]).sum(dim=(1, 2)) / found.sum(dim=(1, 2))
    assert across.abs().max() < 0.02


def test_shares_are_shares():
    stored = torch.stack([picture()] * 400)
    plain = plain_patches(stored, torch.ones(400))
    for field in ("clip_share", "light_share", "blur_share", "noise_share", "jpeg_share"):
        found = augment_patches(stored, torch.ones(400), only(**{field: 0.25}), generator())
        changed = (found - plain).abs().amax(dim=(1, 2, 3)) > 1e-6
        assert 0.15 < changed.float().mean() < 0.35, field
        assert found.min() >= 0 and found.max() <= 1


def test_clipping_cuts_off_one_end_of_a_patch_and_leaves_the_rest():
    stored = torch.stack([picture(seed) for seed in range(200)])
    plain = plain_patches(stored, torch.ones(200))
    found = augment_patches(stored, torch.ones(200), only(clip=0.4, clip_share=1.0), generator())
    low, high = found.amin(dim=(1, 2, 3)), found.amax(dim=(1, 2, 3))
    darkest, brightest = plain.amin(dim=(1, 2, 3)), plain.amax(dim=(1, 2, 3))
    below, above = ((low - darkest) / (brightest - darkest), (brightest - high) / (brightest - darkest))
    assert (torch.minimum(below, above) == 0).all()
    cut = torch.maximum(below, above)
    assert cut.min() >= 0 and 0.35 < cut.max() <= 0.4 and 0.17 < cut.mean() < 0.23
    assert 70 < int((above > 0).sum()) < 130
    assert torch.equal(found, plain.clamp(low[:, None, None, None], high[:, None, None, None]))


def test_blur_keeps_the_mean_and_lowers_contrast():
    stored = picture()[None].expand(50, 64, 64)
    plain = plain_patches(stored, torch.ones(50))
    found = augment_patches(stored, torch.ones(50), only(blur_share=1.0, blur=2.0), generator())
    assert torch.allclose(found.mean(dim=(1, 2, 3)), plain.mean(dim=(1, 2, 3)), atol=0.01)
    assert (found.std(dim=(1, 2, 3)) <= plain.std(dim=(1, 2, 3)) + 1e-6).all()


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_jpeg_is_what_opencv_leaves(quality):
    patch = picture(side=32)
    _, coded = cv2.imencode(".jpg", patch.numpy(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).astype(float)
    found = jpeg(patch[None, None].float() / 255, torch.tensor([float(quality)]))[0, 0].numpy() * 255
    assert np.abs(found - expected).mean() < 1.0
    assert np.abs(found - expected).mean() < 0.5 * np.abs(patch.numpy() - expected).mean()


def test_a_seed_repeats_and_another_differs():
    stored = torch.stack([picture(seed) for seed in range(8)])
    one, two, other = (
        augment_pairs(stored, torch.ones(8), AugmentConfig(), generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_tilt_stretches_in_every_direction_and_keeps_the_area():
    """The stretch is symmetric, of determinant 1, of the asked size, and no direction is preferred."""
    shapes = random_shapes(20000, only(tilt=0.3), generator()).double()
    assert torch.allclose(torch.linalg.det(shapes), torch.ones(20000, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(shapes, shapes.mT, atol=1e-6)
    values, vectors = torch.linalg.eigh(shapes)
    stretch = values[:, 1].log2()
    assert stretch.square().mean().sqrt() == pytest.approx(0.3 * 2**0.5, rel=0.02)
    direction = torch.atan2(vectors[:, 1, 1], vectors[:, 0, 1])
    for times in (2, 4):  # a direction has no sign; neither the axes nor the diagonals are preferred
        assert torch.exp(1j * times * direction).mean().abs() < 0.03


def test_no_tilt_draws_nothing():
    """Runs of before there was a tilt repeat to the bit."""
    drawn = generator()
    random_shapes(5, only(rotation=0.1), drawn)
    without = generator()
    for count in (5, 5, 10):  # angle, zoom, shear
        torch.randn(count, generator=without)
    assert torch.equal(torch.rand(3, generator=drawn), torch.rand(3, generator=without))
