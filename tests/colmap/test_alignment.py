"""Alignment of tracks: places move to where the photos agree, and a model's errors shrink."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pycolmap
import pytest
import torch

from desdis_match.colmap import alignment
from desdis_match.colmap.alignment import (
    AlignConfig,
    align,
    align_model,
    align_tracks,
    photos_ahead,
    radii,
)
from desdis_match.colmap.observations import Observations, Views, observations, references, views_of
from desdis_match.conventions import FRAME_SCALE
from desdis_match.distill.warps import texture
from desdis_match.evaluate.poses.geometry import pair_errors
from desdis_match.evaluate.poses.sfm_scores import poses_of
from desdis_match.photos.formats import UnreadableImage

A = np.array([[1.05, 0.12, 3.3], [-0.10, 0.93, 20.7]])
"""second_from_first, pixels."""
COUNT = 120


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A texture, and the same through A with other gain and offset; its lower half shows something else."""
    folder = tmp_path_factory.mktemp("photos")
    first = texture(np.random.default_rng(0), 400)
    second = cv2.warpAffine(first, A, (400, 400), flags=cv2.INTER_CUBIC).astype(float) * 0.7 + 30
    second[200:] = texture(np.random.default_rng(1), 400)[200:]
    cv2.imwrite(str(folder / "first.png"), first)
    cv2.imwrite(str(folder / "second.png"), np.clip(second, 0, 255).astype(np.uint8))
    return folder


def tracks(noise: float) -> tuple[Observations, np.ndarray]:
    """COUNT tracks of two observations, the second off by `noise` pixels; (COUNT, 2) where it belongs."""
    rng = np.random.default_rng(2)
    xy = rng.uniform(50, 350, (COUNT, 2))
    truth = xy @ A[:, :2].T + A[:, 2]
    frames = np.zeros((2 * COUNT, 2, 3))
    frames[:COUNT, :, :2], frames[COUNT:, :, :2] = 8 * np.eye(2), 8 * A[:, :2]
    frames[:COUNT, :, 2], frames[COUNT:, :, 2] = xy, truth + rng.normal(0, noise, (COUNT, 2))
    index = np.arange(COUNT)
    photo = np.repeat([0, 1], COUNT)
    twice = np.tile(index, 2)
    return Observations(photo, twice, twice, frames, ("first.png", "second.png"), np.ones(2)), truth


def test_places_come_back_to_a_twentieth_of_a_pixel(photos):
    seen, truth = tracks(noise=0.5)
    found = align(seen, photos, AlignConfig())
    same = truth[:, 1] < 180
    moved = found.moved[COUNT:]
    error = np.linalg.norm(found.xy[COUNT:] - truth, axis=1)
    assert moved[same].mean() > 0.85
    assert np.median(error[same & moved]) < 0.05
    assert np.median(np.linalg.norm(seen.frames[COUNT:, :, 2] - truth, axis=1)) > 0.5
    assert (found.after >= found.before).all()


def test_steps_are_those_of_weighted_least_squares():
    """A patch and what it should look like: gain, offset and shift by lstsq, sample by sample."""
    rng, size = np.random.default_rng(3), 8
    wanted = cv2.GaussianBlur(rng.random((size + 2, size + 2), np.float32), (0, 0), 2.0)
    pyramid = alignment.PatchPyramid(np.pad(1.3 * wanted + 0.1, 20, mode="edge"))
    at = 20.0 + (size + 1) / 2
    frame = torch.tensor([[[size / 2, 0, at + 0.2], [0, size / 2, at - 0.1]]])
    patch = pyramid.sample(frame, size).numpy().ravel()
    place = (2 * np.arange(size) + 1) / size - 1
    root = np.sqrt(np.exp(-2.3 * (place[:, None] ** 2 + place**2))).ravel()
    inner = wanted[1:-1, 1:-1].ravel()
    across = (wanted[1:-1, 2:] - wanted[1:-1, :-2]).ravel() * size / 4
    down = (wanted[2:, 1:-1] - wanted[:-2, 1:-1]).ravel() * size / 4
    columns = np.stack([inner, np.ones_like(inner), across, down], 1)
    gain, _, *slopes = np.linalg.lstsq(root[:, None] * columns, root * patch)[0]
    spread = np.cov(patch, inner, aweights=root**2)
    correlation = spread[0, 1] / np.sqrt(spread[0, 0] * spread[1, 1])
    # The gain that correlation goes by is that of the spreads, which the shift does not lower.
    step = np.array(slopes) / np.sqrt(spread[0, 0] / spread[1, 1]) * size / 2
    config = AlignConfig(size=size, steps=1)
    moved, before, after = alignment._gauss_newton(
        pyramid, (1.0, 1.0), frame, torch.from_numpy(wanted)[None], config
    )
    assert before.item() == pytest.approx(correlation, abs=1e-5) and after > before
    assert gain == pytest.approx(1.3, abs=0.05)
    np.testing.assert_allclose(moved[0, :, 2], frame[0, :, 2].numpy() - step, atol=1e-3)


def test_what_does_not_agree_and_references_stay(photos):
    seen, truth = tracks(noise=0.5)
    found = align(seen, photos, AlignConfig())
    other = truth[:, 1] > 220
    assert found.moved[COUNT:][other].mean() < 0.1
    still = ~found.moved
    np.testing.assert_array_equal(found.xy[still], seen.frames[still][:, :, 2])
    assert not found.moved[:COUNT].any()


def test_what_does_not_agree_is_of_another_place(photos):
    seen, truth = tracks(noise=0.5)
    config = AlignConfig(min_correlation=0.8, least_correlation=0.7)
    found = align(seen, photos, config)
    other, same = truth[:, 1] > 220, truth[:, 1] < 180
    assert found.wrong[COUNT:][other].mean() > 0.9 and found.wrong[COUNT:][same].mean() < 0.1
    assert not found.wrong[:COUNT].any()  # references
    unmoved, second = ~found.moved, np.arange(2 * COUNT) >= COUNT
    between = (found.after >= 0.7) & (found.after < 0.8)
    assert (found.wrong == (unmoved & second & ~between)).all() and not (found.wrong & found.moved).any()
    kept = align(seen, photos, replace(config, least_correlation=-1))
    assert (kept.wrong == (kept.after >= 0.8) & unmoved & second).all() and kept.wrong.sum() < 10


def test_a_longer_move_is_believed_in_larger_photos(photos):
    seen = one_track(shift=2.4)
    assert align(seen, photos, AlignConfig(max_shift=2.0)).wrong.tolist() == [False, True]
    larger = replace(seen, pixel=np.array([1.0, 1.3]))
    found = align(larger, photos, AlignConfig(max_shift=2.0))
    assert found.moved.tolist() == [False, True] and not found.wrong.any()


@pytest.mark.parametrize(("noise", "least"), [(0, 0.7), (9, 0.62), (150, 0.5)])
def test_less_is_asked_in_photos_where_most_agree_less(photos, tmp_path, noise, least):
    """Noise of so many grey levels in both photos; tracks of the half that both show."""
    rng = np.random.default_rng(5)
    for name in ("first.png", "second.png"):
        picture = cv2.imread(str(photos / name), 0)
        noisy = np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255)
        cv2.imwrite(str(tmp_path / name), noisy.astype(np.uint8))
    seen, truth = tracks(noise=0.5)
    rows = np.flatnonzero(np.tile(truth[:, 1] < 180, 2))
    found = align(seen.of(rows), tmp_path, AlignConfig())
    others = seen.of(rows).reference != np.arange(len(rows))
    median = np.median(found.after[others])
    assert found.least[1] == pytest.approx(np.clip(0.8 * median, 0.5, 0.7)) == pytest.approx(least, abs=0.05)
    assert found.least[0] == 0.7  # nothing but references there
    few = align(seen.of(np.flatnonzero(np.tile(truth[:, 1] < 70, 2))), tmp_path, AlignConfig())
    assert len(few.xy) < 60 and (few.least == 0.7).all()
    low = others & (found.after < found.least[1])
    assert (found.wrong[low]).all() and not found.wrong[others & ~low & (found.after < 0.8)].any()


def views_of_two_places(photos: Path, at_first: list[bool]) -> Views:
    """A point that copies of one photo see, some at one place and some at another, in this order from the
    middle."""
    names = tuple(f"copy{k}.png" for k in range(len(at_first)))
    for name in names:
        (photos / name).write_bytes((photos / "first.png").read_bytes())
    xy = np.where(np.array(at_first)[:, None], [150.0, 90.0], [240.0, 300.0])
    count = len(at_first)
    one, shapes = np.zeros(count, np.int64), np.tile(np.eye(2), (count, 1, 1))
    facing = np.linspace(0.99, 0.8, count)
    return Views(np.arange(count), one, one, facing, xy, np.full(count, 2.0), shapes, names, np.ones(count))


@pytest.mark.parametrize(
    ("at_first", "right"),
    [
        ("baaa", "aaa"),  # the reference alone is wrong
        ("bbbaaaa", "aaaa"),
        ("abbb", "bbb"),
        ("aaab", "aaa"),  # the reference is right
        ("bbaa", "bb"),  # as many say one as the other: the first reference stays
        ("ab", "a"),
    ],
)
def test_another_reference_is_tried_where_most_are_unlike_the_first(photos, monkeypatch, at_first, right):
    views = views_of_two_places(photos, [letter == "a" for letter in at_first])
    calls, least = [], alignment._least
    monkeypatch.setattr(alignment, "_least", lambda *given: calls.append(1) or least(*given))
    found = align_tracks(views, photos, AlignConfig())
    assert set(references(views)) == {0}
    assert "".join(letter for letter, wrong in zip(at_first, found.wrong, strict=True) if not wrong) == right
    # The reference stays where it is, the others of its place move to where they agree with it.
    first_right = at_first.index(right[0])
    expected = [letter == right[0] and k != first_right for k, letter in enumerate(at_first)]
    assert found.moved.tolist() == expected
    assert len(calls) == 1  # the second time photos show too few to say how far they agree


def test_the_size_at_which_photos_are_read_does_not_shift_places(photos):
    seen, truth = tracks(noise=0.3)
    found = align(seen, photos, AlignConfig(max_size=300))
    good = found.moved[COUNT:] & (truth[:, 1] < 180)
    bias = np.median(found.xy[COUNT:][good] - truth[good], axis=0)
    assert np.abs(bias).max() < 0.03


def one_track(shift: float, frame: float = 8.0) -> Observations:
    """A track of two observations, the second `shift` pixels to the right of where it belongs."""
    xy = np.array([150.0, 90.0])
    truth = A[:, :2] @ xy + A[:, 2]
    frames = np.zeros((2, 2, 3))
    frames[0, :, :2], frames[1, :, :2] = frame * np.eye(2), frame * A[:, :2]
    frames[0, :, 2], frames[1, :, 2] = xy, truth + np.array([shift, 0])
    two = np.array([0, 1])
    none = np.zeros(2, int)
    return Observations(two, none, none, frames, ("first.png", "second.png"), np.ones(2))


@pytest.mark.parametrize(("room", "times"), [(0, 2), (700_000, 1.5), (2**30, 1)])
def test_photos_that_fit_are_read_once_and_nothing_changes(photos, monkeypatch, room, times):
    """A pyramid of these photos of 400 x 400 takes 640,000 bytes and a third; both have references."""
    seen, _ = tracks(noise=0.5)
    reference = seen.reference.copy()
    reference[COUNT // 2 : COUNT] += COUNT
    reference[-COUNT // 2 :] += COUNT
    seen = replace(seen, reference=reference)
    expected = align(seen, photos, AlignConfig())
    read, read_gray = [], alignment.read_gray
    monkeypatch.setattr(alignment, "HELD_BYTES", 4 / 3 * room)
    monkeypatch.setattr(
        alignment, "read_gray", lambda path, *a, **k: (read.append(path), read_gray(path, *a, **k))[1]
    )
    found = align(seen, photos, AlignConfig())
    np.testing.assert_array_equal(found.xy, expected.xy)
    assert found.moved.sum() > 30 and len(read) == 2 * times


def test_photos_read_ahead_give_the_same_and_are_not_read_again(photos, monkeypatch):
    seen, _ = tracks(noise=0.5)
    expected = align(seen, photos, AlignConfig())
    read, read_gray = [], alignment.read_gray
    monkeypatch.setattr(
        alignment, "read_gray", lambda path, *a, **k: (read.append(path), read_gray(path, *a, **k))[1]
    )
    with photos_ahead(photos, [*seen.names, "none.png"]) as ahead:
        for reading in ahead.ahead.values():
            reading.exception()
        assert len(read) == 3 and ahead.held.keys() == set(seen.names)
        np.testing.assert_array_equal(align(seen, photos, AlignConfig(), ahead).xy, expected.xy)
        assert len(read) == 3
        with pytest.raises(UnreadableImage, match="none"):
            ahead["none.png"]


def test_reading_ahead_ends_where_there_is_no_more_room(photos, monkeypatch):
    monkeypatch.setattr(alignment, "HELD_BYTES", 700_000)  # of one pyramid of 853,000 bytes
    with photos_ahead(photos, ["first.png", "second.png"]) as ahead:
        for reading in ahead.ahead.values():
            reading.exception()
        monkeypatch.setattr(alignment, "read_gray", lambda *a, **k: pytest.fail("there is no room"))
        ahead.read_ahead("second.png")
        assert not ahead.held


def test_a_move_is_believed_up_to_its_limit(photos):
    """Three pixels off, but the patch finds its way home: only who allows three pixels gets them."""
    seen = one_track(shift=3.0, frame=16.0)
    home = seen.frames[1, :, 2] - [3, 0]
    far = align(seen, photos, AlignConfig(max_shift=3.5, steps=8))
    assert far.moved.tolist() == [False, True]
    np.testing.assert_allclose(far.xy[1], home, atol=0.1)
    assert not far.wrong.any()
    held = align(seen, photos, AlignConfig(max_shift=2.5, steps=8))
    assert not held.moved.any()
    assert held.wrong.tolist() == [False, True]  # the patch is elsewhere
    np.testing.assert_array_equal(held.xy, seen.frames[:, :, 2])


def test_agreement_decides_who_moves(photos):
    seen = one_track(shift=0.6)
    found = align(seen, photos, AlignConfig())
    assert found.moved[1] and found.before[1] < found.after[1] < 1
    strict = AlignConfig(min_correlation=float(found.after[1]) + 1e-4)
    assert not align(seen, photos, strict).moved.any()
    assert align(seen, photos, AlignConfig(min_correlation=float(found.after[1]) - 1e-4)).moved[1]


def test_without_steps_nothing_moves(photos):
    seen = one_track(shift=0.6)
    found = align(seen, photos, AlignConfig(steps=0))
    np.testing.assert_allclose(found.xy, seen.frames[:, :, 2], atol=1e-5)
    assert found.after[1] == found.before[1]


def test_gain_and_offset_of_a_photo_do_not_matter(photos, tmp_path):
    """A darker, flatter copy of the second photo gives the places of the first copy."""
    seen = one_track(shift=0.7)
    second = cv2.imread(str(photos / "second.png"), 0).astype(float)
    cv2.imwrite(str(tmp_path / "second.png"), np.round(second * 0.5 + 3).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "first.png"), cv2.imread(str(photos / "first.png"), 0))
    found, dim = align(seen, photos, AlignConfig()), align(seen, tmp_path, AlignConfig())
    np.testing.assert_allclose(dim.xy, found.xy, atol=0.05)  # a grey level is coarser there


def noisy_scene(scene_folder: Path):
    """The rendered scene's true model with keypoints off by 0.4 pixels, and their features."""
    model = pycolmap.Reconstruction(str(scene_folder / "ground_truth" / "sparse"))
    rng = np.random.default_rng(3)
    for image in sorted(model.images.values(), key=lambda one: one.name):
        for point in image.points2D:
            point.xy = point.xy + rng.normal(0, 0.4, 2)
    scales = {
        image.name: np.full(len(image.points2D), 1.5 * FRAME_SCALE, np.float32)
        for image in model.images.values()
    }
    return model, SimpleNamespace(scales=lambda name: scales[name])


def places_of(model) -> dict[str, np.ndarray]:
    return {image.name: np.array([point.xy for point in image.points2D]) for image in model.images.values()}


@pytest.fixture(scope="module")
def aligned(scene_folder):
    """(places before, the model after, what was found) of the noisy scene."""
    model, features = noisy_scene(scene_folder)
    before = places_of(model)
    return before, model, align_model(model, scene_folder / "images", features, fix_intrinsics=True)


def rows_of(model, scene_folder):
    """The observations that the noisy scene had before alignment, and the images of `model` by row."""
    fresh, _ = noisy_scene(scene_folder)
    sigmas = {image.name: np.ones(len(image.points2D), np.float32) for image in fresh.images.values()}
    images = sorted((image for image in model.images.values()), key=lambda one: one.name)
    views = views_of(fresh, sigmas)
    return observations(views, references(views), radii(views, AlignConfig())), images


def test_moved_places_are_written_in_colmaps_frame_and_the_others_stay(aligned, scene_folder):
    before, model, found = aligned
    seen, images = rows_of(model, scene_folder)
    old = np.array([before[images[p].name][k] for p, k in zip(seen.photo, seen.keypoint, strict=True)])
    new = np.array([images[p].points2D[k].xy for p, k in zip(seen.photo, seen.keypoint, strict=True)])
    np.testing.assert_allclose(new, found.xy + 0.5, atol=1e-9)
    np.testing.assert_allclose(new[~found.moved], old[~found.moved], atol=1e-9)
    # Nothing drifts: alignment and the writing of it have one frame.
    assert np.abs(np.mean(new[found.moved] - old[found.moved], axis=0)).max() < 0.1


def test_observations_of_another_place_leave_the_model(aligned, scene_folder):
    _, model, found = aligned
    seen, images = rows_of(model, scene_folder)
    left = np.array(
        [images[p].points2D[k].has_point3D() for p, k in zip(seen.photo, seen.keypoint, strict=True)]
    )
    assert found.wrong.sum() > 100 and not left[found.wrong].any()
    others = ~found.wrong & (np.bincount(seen.reference, ~found.wrong)[seen.reference] > 1)
    assert left[others].mean() > 0.99  # but for what the adjustment leaves out


def test_what_the_adjustment_does_not_bring_together_leaves_the_model(scene_folder):
    """A third of the observations of three photos are off by 20 pixels, and not moved by alignment."""
    model, features = noisy_scene(scene_folder)
    for image in sorted(model.images.values(), key=lambda one: one.name)[:3]:
        for number in range(0, len(image.points2D), 3):
            image.points2D[number].xy = np.add(image.points2D[number].xy, [20, 0])
    config = AlignConfig(steps=0, max_shift=1, min_correlation=-2, least_correlation=-2)  # nothing is wrong
    align_model(model, scene_folder / "images", features, config, fix_intrinsics=True)
    kept = [
        np.linalg.norm(image.project_point(model.points3D[point.point3D_id].xyz) - point.xy)
        for image in model.images.values()
        for point in image.points2D
        if point.has_point3D()
    ]
    assert max(kept) <= 4 and len(kept) > 1000


def test_given_intrinsics_stay_and_others_are_adjusted(aligned, scene_folder):
    _, model, _ = aligned
    fresh, features = noisy_scene(scene_folder)
    given = {number: camera.params.tolist() for number, camera in fresh.cameras.items()}
    assert {number: camera.params.tolist() for number, camera in model.cameras.items()} == given
    align_model(fresh, scene_folder / "images", features, fix_intrinsics=False)
    assert {number: camera.params.tolist() for number, camera in fresh.cameras.items()} != given


def test_the_errors_of_points_are_those_of_the_new_places(aligned):
    _, model, _ = aligned
    errors = np.array([point.error for point in model.points3D.values()])
    model.update_point_3d_errors()
    np.testing.assert_allclose(errors, [point.error for point in model.points3D.values()])


def test_a_models_errors_shrink(aligned, scene_folder):
    plain, _ = noisy_scene(scene_folder)
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_focal_length = options.refine_extra_params = False
    pycolmap.bundle_adjustment(plain, options)
    plain.update_point_3d_errors()
    _, model, found = aligned
    assert 0.4 < found.moved.mean() < 1
    before, after = (np.median([point.error for point in one.points3D.values()]) for one in (plain, model))
    assert after < 0.6 * before


def test_the_same_model_gives_the_same_places(aligned, scene_folder):
    _, model, found = aligned
    again, features = noisy_scene(scene_folder)
    twice = align_model(again, scene_folder / "images", features, fix_intrinsics=True)
    np.testing.assert_array_equal(twice.xy, found.xy)
    for number, image in model.images.items():
        np.testing.assert_array_equal(
            image.cam_from_world().matrix(), again.images[number].cam_from_world().matrix()
        )


def test_a_few_wrong_observations_do_not_turn_the_cameras(scene_folder):
    path = scene_folder / "ground_truth" / "sparse"
    truth = poses_of(pycolmap.Reconstruction(str(path)))
    errors = []
    for loss_scale in (1e3, AlignConfig().loss_scale):  # the first is as good as squared residuals
        model = pycolmap.Reconstruction(str(path))
        for image in list(model.images.values())[::2]:
            for number in range(0, len(image.points2D), 12):
                image.points2D[number].xy = np.add(image.points2D[number].xy, [3.5, 0])
        sizes = {
            image.name: np.full(len(image.points2D), 1.5 * FRAME_SCALE) for image in model.images.values()
        }
        features = SimpleNamespace(scales=lambda name, sizes=sizes: sizes[name])
        # Nothing moves and nothing leaves.
        config = AlignConfig(
            max_size=200, steps=0, max_shift=-1, loss_scale=loss_scale, least_correlation=-1.0
        )
        align_model(model, scene_folder / "images", features, config, fix_intrinsics=True)
        errors.append(np.median(pair_errors(poses_of(model), truth).rotation))
    assert errors[1] < 0.3 * errors[0]
