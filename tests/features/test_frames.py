"""Frames and patches: what they mean, and that the fast sampler gives what Kornia's plain one gives."""

import math

import cv2
import kornia
import numpy as np
import pytest
import torch
from pictures import blobs

from desdis_match.conventions import FRAME_SCALE
from desdis_match.features.frames import (
    PatchPyramid,
    _within,
    extract_patches,
    keypoints_to_lafs,
    laf_angles,
    laf_scales,
    resized_lafs,
    rotated_lafs,
    scaled_lafs,
)


@pytest.fixture(scope="module")
def photo():
    """(333, 500) float32 in [0, 1], structure at many scales, odd height."""
    return blobs((500, 333), (8, 32, 128, 400), seed=3)


def random_frames(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(count, 2, generator=generator) * torch.tensor([500.0, 333.0])
    scales = 0.8 * 20.0 ** torch.rand(count, generator=generator)
    lafs = keypoints_to_lafs(xy, scales, (torch.rand(count, generator=generator) - 0.5) * 6.28)
    skew = torch.eye(2) + 0.3 * torch.randn(count, 2, 2, generator=generator)
    return torch.cat([lafs[..., :2] @ skew, lafs[..., 2:]], -1)


@pytest.mark.skipif(kornia.__version__ < "0.9", reason="Kornia cut its patches otherwise before 0.9")
def test_patches_equal_those_of_kornia(photo):
    from kornia.feature import extract_patches_from_pyramid

    lafs = random_frames(1500)
    fast = extract_patches(photo, lafs)
    slow = extract_patches_from_pyramid(
        torch.from_numpy(photo)[None, None], scaled_lafs(lafs, FRAME_SCALE)[None]
    )
    assert fast.shape == (1500, 1, 32, 32) and fast.dtype == torch.float32
    difference = (fast - slow[0]).abs()
    assert difference.mean() < 0.01 / 255
    assert difference.flatten(1).mean(1).max() < 1 / 255


def test_the_torch_sampler_of_other_devices_agrees_with_the_cpu_one(photo, monkeypatch):
    lafs = random_frames(200, seed=1)
    fast = extract_patches(photo, lafs)
    monkeypatch.setattr("desdis_match.features.frames.on_cpu", lambda tensor: False)
    assert (fast - extract_patches(photo, lafs)).abs().max() < 1 / 255


@pytest.mark.parametrize("shape", [(80, 33000), (33000, 80)])
def test_a_side_that_opencv_refuses_is_sampled_as_its_crop(shape):
    strip = cv2.GaussianBlur(np.random.default_rng(0).random(shape, np.float32), (0, 0), 2)
    corner = (torch.tensor(shape[::-1]) > 80) * 32000.0  # x, y
    crop = strip[int(corner[1]) :, int(corner[0]) :]
    lafs = keypoints_to_lafs([[30.2, 40.7], [50.0, 25.3]], [1.0, 1.4], [0.0, 0.5])
    there = torch.cat([lafs[..., :2], lafs[..., 2:] + corner[:, None]], -1)
    assert (extract_patches(strip, there) - extract_patches(crop, lafs)).abs().max() < 1 / 255


def test_a_frame_of_half_the_patch_size_is_the_crop(photo):
    lafs = keypoints_to_lafs([[100.5, 80.5]], 16.0)
    patch = PatchPyramid(photo).sample(lafs, 32)[0, 0]
    # Centre (100.5, 80.5) with half side 16: columns 85..116, rows 65..96.
    np.testing.assert_allclose(patch, photo[65:97, 85:117], atol=1e-6)


def test_large_frames_are_averaged_not_subsampled():
    stripes = np.zeros((512, 512), np.float32)
    stripes[:, ::2] = 1.0
    patch = PatchPyramid(stripes).sample(keypoints_to_lafs([[255.5, 255.5]], 200.0), 32)
    assert (patch - 0.5).abs().max() < 0.01


def test_beyond_the_border_the_outer_pixels_repeat(photo):
    patch = PatchPyramid(photo).sample(keypoints_to_lafs([[-40.0, 20.0]], 10.0), 32)[0, 0]
    assert torch.allclose(patch, patch[:, :1].expand(32, 32))


def test_frames_that_are_not_finite_give_zeros(photo):
    lafs = random_frames(3)
    lafs[1, 0, 0] = math.nan
    patches = extract_patches(photo, lafs)
    assert (patches[1] == 0).all() and (patches[[0, 2]] > 0).any()


@pytest.mark.parametrize("size", [16, 32, 200])
def test_patches_are_the_same_one_by_one(photo, size):
    lafs, pyramid = scaled_lafs(random_frames(300), 3.0), PatchPyramid(photo)
    alone = torch.cat([pyramid.sample(laf[None], size) for laf in lafs])
    assert torch.equal(pyramid.sample(lafs, size), alone)


def test_no_frames_give_no_patches(photo):
    assert extract_patches(photo, torch.zeros(0, 2, 3)).shape == (0, 1, 32, 32)


def test_keypoints_become_frames_and_come_back():
    xy, scales, angles = (
        torch.tensor([[3.0, 4.0], [5.0, 6.0]]),
        torch.tensor([2.0, 0.7]),
        torch.tensor([0.3, -2.0]),
    )
    lafs = keypoints_to_lafs(xy, scales, angles)
    for got, expected in ((lafs[..., 2], xy), (laf_scales(lafs), scales), (laf_angles(lafs), angles)):
        torch.testing.assert_close(got, expected)


def test_frames_follow_kornias_convention():
    from kornia.feature import get_laf_orientation, get_laf_scale, laf_from_center_scale_ori

    xy, angle = torch.tensor([[3.0, 4.0]]), 0.4
    kornia = laf_from_center_scale_ori(
        xy[None], torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1), math.degrees(angle))
    )
    ours = keypoints_to_lafs(xy, 2.0, angle)
    torch.testing.assert_close(ours, kornia[0])
    assert math.degrees(laf_angles(ours)) == pytest.approx(get_laf_orientation(kornia).item(), abs=1e-3)
    assert laf_scales(ours).item() == pytest.approx(get_laf_scale(kornia).item(), abs=1e-5)


def test_an_upright_frame_turned_by_an_angle_has_it():
    lafs = rotated_lafs(keypoints_to_lafs([[1.0, 2.0]], 3.0), torch.tensor([0.5]))
    torch.testing.assert_close(lafs, keypoints_to_lafs([[1.0, 2.0]], 3.0, 0.5))


def test_resizing_keeps_pixel_centres():
    lafs = resized_lafs(keypoints_to_lafs([[10.5, 6.5]], 4.0), (0.5, 0.5))
    torch.testing.assert_close(lafs, keypoints_to_lafs([[5.0, 3.0]], 2.0))


def test_points_moved_to_the_border_see_what_border_padding_shows(photo):
    level = torch.from_numpy(photo)[None, None]
    grid = 3.0 * torch.rand(1, 50, 50, 2, generator=torch.Generator().manual_seed(0)) - 1.5

    def seen(points, padding):
        return torch.nn.functional.grid_sample(level, points, padding_mode=padding, align_corners=False)

    moved = _within(grid, 500, 333)
    torch.testing.assert_close(seen(moved, "zeros"), seen(grid, "border"), rtol=0, atol=1e-4)
