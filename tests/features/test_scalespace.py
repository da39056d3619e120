"""Extrema of scale space: rendered blobs are found where they were put, on any device."""

import math

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from desdis_match.features import octaves as gaussian
from desdis_match.features.octaves import double, octaves
from desdis_match.features.scalespace import BAND, Extrema, _local_extrema, find_extrema

FIRST_OCTAVE = {"dog": -1, "hessian": 0}


def blob_image(centres, sigma, size=(160, 120), amplitude=0.4):
    """(h, w) float32: Gaussian blobs at pixel coordinates on grey, as a camera of blur 0.5 would see them."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    image = np.full((size[1], size[0]), 0.5)
    for index, (cx, cy) in enumerate(centres):
        image += amplitude * (-1) ** index * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return torch.from_numpy(image.astype(np.float32))


def nearest(found, centre):
    """Of the extrema within two pixels of `centre` the strongest: offset (2,), sigma, contrast."""
    offset = found.xy - torch.tensor(centre)
    score = torch.where(offset.norm(dim=1) < 2.0, found.contrast, -1.0)
    best = int(score.argmax())
    assert score[best] > 0, "no extremum near the blob"
    return offset[best], float(found.sigma[best]), float(found.contrast[best])


def distances(these, those):
    """From each of `these` extrema to the nearest of `those`, in x, y, sigma (pixels)."""
    points = (torch.cat([e.xy, e.sigma[:, None]], 1).numpy() for e in (those, these))
    return torch.from_numpy(cKDTree(next(points)).query(next(points))[0])


@pytest.mark.parametrize("response", ["dog", "hessian"])
@pytest.mark.parametrize("sigma", [2.0, 3.3, 6.0])
def test_blobs_are_found_at_their_subpixel_place(response, sigma):
    offsets = []
    for fraction in np.linspace(0, 0.9, 7):
        centres = [(40.0 + fraction, 60.0 - 0.7 * fraction), (110.3 - fraction, 55.0 + fraction)]
        found = find_extrema(blob_image(centres, sigma), response, FIRST_OCTAVE[response], 0.005, 10.0)
        offsets += [nearest(found, centre)[0] for centre in centres]
    offsets = torch.stack(offsets)
    assert offsets.mean(0).abs().max() < 0.005
    assert offsets.abs().max() < 0.02


@pytest.mark.parametrize("response", ["dog", "hessian"])
def test_scale_follows_the_blob(response):
    sigmas = []
    for sigma in (2.0, 4.0, 8.0):
        found = find_extrema(blob_image([(80.3, 60.2)], sigma), response, FIRST_OCTAVE[response], 0.005, 10.0)
        sigmas.append(nearest(found, (80.3, 60.2))[1])
    assert sigmas[1] / sigmas[0] == pytest.approx(2.0, rel=0.08)
    assert sigmas[2] / sigmas[1] == pytest.approx(2.0, rel=0.05)


def test_bright_and_dark_blobs_are_alike():
    for response in ("dog", "hessian"):
        found = find_extrema(
            blob_image([(40, 60), (110, 60)], 3.0), response, FIRST_OCTAVE[response], 0.005, 10.0
        )
        bright, dark = nearest(found, (40, 60)), nearest(found, (110, 60))
        assert bright[1] == pytest.approx(dark[1], rel=1e-3) and bright[2] == pytest.approx(dark[2], rel=1e-3)


def test_both_responses_measure_contrast_in_one_unit():
    image = blob_image([(80, 60)], 4.0)
    dog, hessian = (nearest(find_extrema(image, r, 0, 0.005, 10.0), (80, 60))[2] for r in ("dog", "hessian"))
    assert hessian == pytest.approx(dog, rel=0.15)


def test_weak_blobs_fall_to_the_contrast_threshold():
    image = blob_image([(80, 60)], 3.0, amplitude=0.02)
    contrast = nearest(find_extrema(image, "dog", -1, 0.0, 10.0), (80, 60))[2]
    assert len(find_extrema(image, "dog", -1, contrast * 0.98, 10.0).xy) >= 1
    assert len(find_extrema(image, "dog", -1, contrast * 1.02, 10.0).xy) == 0


@pytest.mark.parametrize("response", ["dog", "hessian"])
def test_elongated_blobs_fall_to_the_edge_threshold(response):
    x, y = np.meshgrid(np.arange(200), np.arange(160))
    image = torch.from_numpy(
        (0.5 + 0.4 * np.exp(-((x - 100) ** 2 / 1800 + (y - 80) ** 2 / 18))).astype(np.float32)
    )
    assert len(find_extrema(image, response, 0, 0.002, 0.0).xy) > 0
    assert len(find_extrema(image, response, 0, 0.002, 5.0).xy) == 0


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("minima", [True, False])
def test_the_search_by_bands_finds_what_a_plain_one_does(minima, on_cpu, monkeypatch):
    monkeypatch.setattr("desdis_match.features.scalespace.on_cpu", lambda tensor: on_cpu)
    # Few values, so that many neighbours are equal: of those the first counts.
    volume = np.random.default_rng(2).integers(-20, 21, (5, 2 * BAND + 30, 40)).astype(np.float32)
    plain = {}
    for level, row, column in np.ndindex(3, volume.shape[1] - 10, 30):
        at = level + 1, row + 5, column + 5
        cube = volume[tuple(slice(i - 1, i + 2) for i in at)].flatten()
        values = cube if cube[13] > 0 else -cube
        counts = values[13] > 3 and (cube[13] > 0 or minima)
        if counts and (values[:13] < values[13]).all() and (values[14:] <= values[13]).all():
            plain[int(np.ravel_multi_index(at, volume.shape))] = cube
    prepared = []
    at, near = _local_extrema(torch.from_numpy(volume), 3.0, minima, prepared.append)
    assert len(plain) > 100 and sorted(at.tolist()) == sorted(plain)
    assert all((near[:, i].numpy() == plain[int(index)]).all() for i, index in enumerate(at))
    # Every row is prepared once.
    rows = [row for part in prepared for row in range(*part.indices(volume.shape[1]))]
    assert rows == list(range(volume.shape[1]))


@pytest.mark.parametrize("response", ["dog", "hessian"])
def test_the_torch_path_of_other_devices_finds_the_same(response, monkeypatch):
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((150, 211), np.float32), (0, 0), 1.5)
    image = torch.from_numpy(cv2.normalize(noise, None, 0, 1, cv2.NORM_MINMAX))
    expected = find_extrema(image, response, FIRST_OCTAVE[response], 0.005, 10.0)
    for module in ("octaves", "scalespace"):
        monkeypatch.setattr(f"desdis_match.features.{module}.on_cpu", lambda tensor: False)
    found = find_extrema(image, response, FIRST_OCTAVE[response], 0.005, 10.0)
    assert len(expected.xy) > 50 and len(found.xy) == len(expected.xy)
    assert (distances(expected, found) < 0.01).double().mean() > 0.99


def test_no_convolution_is_taken_with_tf32(monkeypatch):
    flags = []

    def conv2d(*args):
        flags.append((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled))
        return convolve(*args)

    convolve = gaussian.F.conv2d
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled
    monkeypatch.setattr(gaussian, "on_cpu", lambda tensor: False)
    monkeypatch.setattr(gaussian.F, "conv2d", conv2d)
    gaussian.blur(torch.rand(20, 30), 1.5)
    assert flags == [(False, before[1])] * 2
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == before


def test_dog_agrees_with_kornias():
    from kornia.feature.integrated import SIFTFeatureScaleSpace

    noise = cv2.GaussianBlur(np.random.default_rng(1).random((150, 210), np.float32), (0, 0), 1.5)
    image = torch.from_numpy(cv2.normalize(noise, None, 0, 1, cv2.NORM_MINMAX))
    detector = SIFTFeatureScaleSpace(2000, descriptor_backend="pyramid").detector
    lafs, responses = detector(image[None, None])
    kept = responses[0] > 0.005
    theirs = Extrema(lafs[0, kept, :, 2], lafs[0, kept, 0, 0] / 6.0, responses[0, kept])
    assert len(theirs.xy) > 100
    # Theirs gives up candidates that walk between octaves and fits the place by the quadratic in three
    # variables.
    assert (distances(theirs, find_extrema(image, "dog", -1, 0.004, 0.0)) < 0.1).double().mean() > 0.9


def test_octave_pixels_keep_their_place():
    ramp = torch.arange(200.0).expand(120, 200).contiguous() / 200
    for pixel, gaussians in octaves(ramp, -1, 4):
        margin = math.ceil(16 / pixel) + 12
        row = gaussians[2, gaussians.shape[1] // 2]
        columns = torch.arange(len(row)) * pixel / 200
        if len(row) > 2 * margin:
            torch.testing.assert_close(row[margin:-margin], columns[margin:-margin], atol=1e-4, rtol=0)


def test_doubling_puts_pixels_at_even_places():
    image = torch.arange(12.0).view(3, 4) ** 1.5
    doubled = double(image)
    assert doubled.shape == (6, 8)
    torch.testing.assert_close(doubled[::2, ::2], image)
    torch.testing.assert_close(doubled[1, 1], image[:2, :2].mean())


def test_images_without_room_or_structure_give_nothing():
    for image in (torch.zeros(11, 40), torch.full((60, 60), 0.5)):
        for response in ("dog", "hessian"):
            found = find_extrema(image, response, FIRST_OCTAVE[response], 0.005, 10.0)
            assert found.xy.shape == (0, 2) and found.sigma.shape == (0,)


def test_memory_kept_from_one_image_to_the_next_changes_nothing(monkeypatch):
    images = [torch.rand(size, generator=torch.Generator().manual_seed(7)) for size in ((90, 120), (60, 80))]

    def stacks(image):
        return [gaussians.clone() for _, gaussians in octaves(image, -1, 6)]

    gaussian._kept.room = None
    with torch.inference_mode():  # what is kept is written to outside of it later
        alone = [stacks(image) for image in images]
    kept = gaussian._kept.room
    assert kept.nbytes == 6 * 180 * 240 * 4
    for image, expected in zip([*images, images[0]], [*alone, alone[0]], strict=True):
        assert all(map(torch.equal, stacks(image), expected))
    assert gaussian._kept.room is kept
    # Two at a time do not share it.
    both = zip(octaves(images[0], -1, 6), octaves(images[1], -1, 6), strict=False)
    for ((_, first), (_, second)), *expected in zip(both, *alone, strict=False):
        assert torch.equal(first, expected[0]) and torch.equal(second, expected[1])
    gaussian._kept.room = None
    monkeypatch.setattr(gaussian, "KEPT_BYTES", kept.nbytes - 1)
    stacks(images[0])
    assert gaussian._kept.room is None
