"""Photos to Features: pixels of the photo, given keypoints, masks, empty results, devices."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
import torch

from desdis_match.conventions import FRAME_SCALE
from desdis_match.descriptors import DesDis, save_weights
from desdis_match.errors import InputError
from desdis_match.features.detectors import detect
from desdis_match.features.extract import ExtractConfig, Extractor, describe_keypoints, extract_image
from desdis_match.features.extract_set import probe_image, turn_features
from desdis_match.features.orientation import multi
from desdis_match.features.orientation_of_set import Turn
from desdis_match.photos.images import GrayImage, read_gray
from desdis_match.pipeline import RunConfig, extract, unusable_images
from desdis_match.storage.features_file import FeatureFile
from desdis_match.storage.keypoint_files import GivenKeypoints, read_given


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of one blob at (141.2, 87.6) of sigma 6, of noise, and of next to nothing; 300x200 pixels."""
    path = tmp_path_factory.mktemp("photos")
    y, x = np.mgrid[:200, :300]
    blob = 120 + 100 * np.exp(-((x - 141.2) ** 2 + (y - 87.6) ** 2) / 72)
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((200, 300), np.float32), (0, 0), 2)
    flat = np.full((200, 300), 99, np.uint8)
    flat[0, 0] = 100
    for name, pixels in {
        "blob": blob,
        "noise": cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX),
        "flat": flat,
    }.items():
        cv2.imwrite(str(path / f"{name} ö.png"), np.round(pixels).astype(np.uint8))
    return path


def config(**options):
    return ExtractConfig(**{"descriptor": "rootsift", **options})


@pytest.mark.parametrize("detector", ["dog", "hessian"])
@pytest.mark.parametrize("max_size", [0, 200, 151])
def test_a_blob_is_found_at_its_place_in_the_photo(folder, detector, max_size):
    features = Extractor(config(detector=detector, max_size=max_size), "cpu")(folder, "blob ö.png")
    best = int(features.scores.argmax())
    np.testing.assert_allclose(features.keypoints[best], [141.2, 87.6], atol=0.05)
    assert features.scales[best] / FRAME_SCALE == pytest.approx(6.0, rel=0.15)
    assert features.image_size == (300, 200)


@pytest.mark.parametrize("orientation", ["upright", "dominant", "multi"])
def test_features_keep_their_record(folder, orientation):
    features = Extractor(config(orientation=orientation, max_keypoints=300), "cpu")(folder, "noise ö.png")
    count = len(features)
    assert 200 < count <= 300
    shapes = {
        name: getattr(features, name).shape
        for name in ("keypoints", "descriptors", "scores", "scales", "angles")
    }
    assert shapes == {
        "keypoints": (count, 2),
        "descriptors": (count, 128),
        "scores": (count,),
        "scales": (count,),
        "angles": (count,),
    }
    for name in shapes:
        assert getattr(features, name).dtype == np.float32 and np.isfinite(getattr(features, name)).all()
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-5)
    assert (features.angles == 0).all() == (orientation == "upright")


def test_nothing_to_find_is_no_error(folder):
    features = Extractor(config(), "cpu")(folder, "flat ö.png")
    assert features.keypoints.shape == (0, 2) and features.descriptors.shape == (0, 128)
    assert features.scales.shape == (0,)


def test_masks_are_looked_up_by_name(folder, tmp_path):
    mask = np.zeros((200, 300), np.uint8)
    mask[:, 150:] = 255
    cv2.imwrite(str(tmp_path / "noise ö.png.png"), mask)
    extractor = Extractor(config(), "cpu")
    features = extractor(folder, "noise ö.png", masks=tmp_path)
    assert len(features) > 100 and features.keypoints[:, 0].min() >= 149.5
    assert len(extractor(folder, "blob ö.png", masks=tmp_path)) > 0  # has no mask: all of it counts


def test_given_keypoints_are_described_in_their_order(folder):
    found = Extractor(config(orientation="dominant", max_size=0), "cpu")(folder, "noise ö.png")
    order = np.random.default_rng(0).permutation(len(found))
    given = GivenKeypoints(found.keypoints[order], found.scales[order] / FRAME_SCALE, found.angles[order])
    descriptor = Extractor(config(), "cpu").descriptor
    features = describe_keypoints(folder / "noise ö.png", given, config(max_size=0), descriptor)
    assert np.array_equal(features.keypoints, found.keypoints[order])
    np.testing.assert_allclose(features.descriptors, found.descriptors[order], atol=1e-3)
    np.testing.assert_allclose(features.scales, found.scales[order], rtol=1e-5)


@pytest.mark.parametrize("orientation", ["upright", "multi"])
def test_given_keypoints_without_angles_are_oriented_once(folder, orientation):
    given = GivenKeypoints(np.float32([[50, 60], [-5, 10], [150, 90]]), np.float32([3, 3, 3]), None)
    extractor = Extractor(config(orientation=orientation), "cpu")
    image = read_gray(folder / "noise ö.png")
    features = describe_keypoints(image, given, extractor.config, extractor.descriptor)
    assert np.array_equal(features.keypoints, given.xy)
    assert (features.angles == 0).all() == (orientation == "upright")


@pytest.mark.parametrize("max_size", [0, 150])
def test_given_sigmas_are_of_the_photo_whatever_size_it_is_worked_on(folder, max_size):
    """The patch covers the same part of the photo, so that it looks the same."""
    extractor = Extractor(config(max_size=max_size), "cpu")
    given = GivenKeypoints(
        np.float32([[141.2, 87.6], [200, 100]]), np.float32([5, 3]), np.zeros(2, np.float32)
    )
    features = describe_keypoints(folder / "blob ö.png", given, extractor.config, extractor.descriptor)
    np.testing.assert_allclose(features.scales, [5 * FRAME_SCALE, 3 * FRAME_SCALE], rtol=1e-5)
    # The frame that is described, in pixels of the photo, has that radius too.
    seen = []
    describe_keypoints(
        folder / "blob ö.png",
        given,
        extractor.config,
        lambda patches: seen.append(patches) or patches[:, 0, 0],
    )
    blob = seen[0][0, 0].numpy()
    # A blob of sigma 6 within a patch of radius 60: at half the way to the side exp(-30^2 / 72) is nothing.
    assert blob[16, 16] - blob[0, 0] > 0.3 and abs(blob[16, 24] - blob[0, 0]) < 0.02
    assert blob[16, 18] - blob[0, 0] > 0.1  # 9.4 pixels away: exp(-9.4^2 / 72) = 0.29


@pytest.mark.parametrize("budget", [40, 300])
def test_several_frames_of_a_keypoint_stay_within_the_budget(folder, budget):
    options = config(max_keypoints=budget, max_size=0, contrast_threshold=0.0)
    gray = read_gray(folder / "noise ö.png")
    upright = detect(gray.pixels, replace(options, orientation="upright"))
    assert len(upright) == budget
    frames, rows = multi(upright.pyramid, upright.lafs)
    assert len(frames) > 1.1 * budget, "some keypoints have several directions"
    found = detect(gray.pixels, replace(options, orientation="multi"))
    assert len(found) == budget and len(found.scores) == budget
    np.testing.assert_array_equal(found.lafs, frames[:budget])
    np.testing.assert_array_equal(found.scores, upright.scores[rows[:budget]])
    # The same where orientation `auto` lets the frames of a photo turn one by one.
    extractor = Extractor(replace(options, orientation="auto"), "cpu")
    first = probe_image(gray, extractor.config, extractor.descriptor)
    turned = turn_features(gray, first, Turn(per_keypoint=True), extractor.config, extractor.descriptor)
    assert len(turned) == budget
    np.testing.assert_allclose(turned.keypoints, frames[:budget, :, 2], atol=1e-4)


def test_no_given_keypoints_give_empty_features(folder):
    given = GivenKeypoints(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))
    extractor = Extractor(config(), "cpu")
    features = describe_keypoints(folder / "noise ö.png", given, extractor.config, extractor.descriptor)
    assert features.descriptors.shape == (0, 128) and features.keypoints.shape == (0, 2)


def test_given_keypoints_from_colmaps_text(folder, tmp_path):
    # COLMAP counts from the corner of the top-left pixel, and its angle turns clockwise as seen.
    rows = "2 128\n10.5 20.5 3.0 0.25 1 2 3\n100 50 2 -1\n"
    (tmp_path / "noise ö.png.txt").write_text(rows)
    given = read_given(tmp_path, "noise ö.png")
    np.testing.assert_allclose(given.xy, [[10, 20], [99.5, 49.5]])
    np.testing.assert_allclose(given.sigmas, [3, 2])
    np.testing.assert_allclose(given.angles, [-0.25, 1])
    features = Extractor(config(), "cpu")(folder, "noise ö.png", keypoints=tmp_path)
    assert np.array_equal(features.keypoints, given.xy)
    np.testing.assert_allclose(features.scales, [3 * FRAME_SCALE, 2 * FRAME_SCALE], rtol=1e-5)


def test_given_keypoints_from_hlocs_hdf5(tmp_path):
    path = tmp_path / "given.h5"
    with h5py.File(path, "w") as file:
        file["sub/a b.jpg/keypoints"] = np.array([[3, 4], [5, 6]], np.float16)
        file["sub/a b.jpg/scales"] = np.float32([2, 3])
        file["sub/a b.jpg/oris"] = np.float32([90, -45])
        file["bare.jpg/keypoints"] = np.float32([[1, 2]])
        file["bad.jpg/keypoints"] = np.float32([[1, np.nan]])
    given = read_given(path, "sub/a b.jpg")
    np.testing.assert_allclose(given.xy, [[3, 4], [5, 6]])
    np.testing.assert_allclose(given.sigmas, [2, 3])
    np.testing.assert_allclose(given.angles, [-np.pi / 2, np.pi / 4], rtol=1e-6)
    bare = read_given(path, "bare.jpg")
    assert bare.angles is None and (bare.sigmas > 0).all()
    for name in ("bad.jpg", "missing.jpg"):
        with pytest.raises(InputError, match=name):
            read_given(path, name)


def test_our_own_file_of_features_gives_its_keypoints_back(folder, tmp_path):
    from desdis_match.storage.features_file import write_features

    extractor = Extractor(config(orientation="multi"), "cpu")
    features = extractor(folder, "noise ö.png")
    write_features(tmp_path / "features.h5", [("noise ö.png", features)], {})
    again = extractor(folder, "noise ö.png", keypoints=tmp_path / "features.h5")
    assert np.array_equal(again.keypoints, features.keypoints)
    np.testing.assert_allclose(again.scales, features.scales, rtol=1e-4)
    np.testing.assert_allclose(again.descriptors, features.descriptors, atol=2e-2)


@pytest.mark.parametrize(
    "text", ["", "one two", "2 0\n1 2 3 4\n", "1 0\n1 2 x 4\n", "1 0\n1 2 -3 0\n", "1 0\n1 nan 3 0\n"]
)
def test_malformed_keypoint_files_are_refused(tmp_path, text):
    (tmp_path / "a.jpg.txt").write_text(text)
    with pytest.raises(InputError, match=r"a\.jpg\.txt"):
        read_given(tmp_path, "a.jpg")


def test_missing_keypoint_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"b\.jpg\.txt is missing"):
        read_given(tmp_path, "b.jpg")
    with pytest.raises(InputError, match="no such file"):
        read_given(tmp_path / "none.h5", "b.jpg")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(InputError, match=r"text\.h5 is not a readable HDF5 file"):
        read_given(tmp_path / "text.h5", "b.jpg")


def test_a_descriptor_sees_the_patches_of_its_keypoints():
    ramp = np.tile(np.arange(64, dtype=np.float32) / 64, (64, 1))
    given = GivenKeypoints(
        np.array([[20, 30], [40, 12]], np.float32), np.ones(2, np.float32), np.zeros(2, np.float32)
    )
    image = GrayImage(ramp, (64, 64), (1.0, 1.0))
    features = describe_keypoints(image, given, config(), lambda patches: patches.mean((2, 3)))
    # The mean of a ramp over a patch is its value at the patch's centre.
    np.testing.assert_allclose(features.descriptors[:, 0], [20 / 64, 40 / 64], atol=1e-5)


def test_extract_image_takes_a_path_too(folder):
    extractor = Extractor(config(), "cpu")
    one = extract_image(folder / "noise ö.png", extractor.config, extractor.descriptor)
    two = extractor(folder, "noise ö.png")
    assert np.array_equal(one.descriptors, two.descriptors)


def test_a_weight_file_that_was_replaced_is_read_again(folder, tmp_path):
    weights, rows = tmp_path / "w.safetensors", []
    for seed in range(2):
        torch.manual_seed(seed)
        save_weights(weights, DesDis(8), {})
        options = config(descriptor=str(weights), orientation="upright", max_keypoints=20)
        path = extract(folder, tmp_path / f"{seed}.h5", options, run=RunConfig("cpu", workers=1))
        with FeatureFile(path) as file:
            rows.append(file.get("noise ö.png").descriptors)
    assert not np.allclose(rows[0], rows[1], atol=0.01)


def test_photos_left_out_say_why_at_the_size_of_the_run(folder, tmp_path, caplog):
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    photos.mkdir()
    masks.mkdir()
    (photos / "a.png").write_bytes((folder / "noise ö.png").read_bytes())
    cv2.imwrite(str(photos / "thin.png"), np.tile(np.arange(20, dtype=np.uint8) * 9, (200, 1)))
    cv2.imwrite(str(masks / "other.png"), np.zeros((200, 300), np.uint8))
    path = extract(
        photos, tmp_path / "f.h5", config(max_size=100), masks=masks, run=RunConfig("cpu", workers=1)
    )
    why = "is 20x200, too thin to be shrunk to 100 pixels"
    assert unusable_images(photos, path) == {"thin.png": why}
    with FeatureFile(path) as file:
        assert file.left_out() == {"thin.png": why}
    assert "holds no mask of any photo; that of a.png would be" in caplog.text  # a.png.png


def test_wrong_options_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="workers is -1"):
        RunConfig(workers=-1)
    with pytest.raises(InputError, match=r"is a folder; give the file to write with --output"):
        extract(folder, tmp_path, config())
    with pytest.raises(InputError, match="max_size"):
        config(max_size=-1)


def test_an_executor_that_is_given_does_the_work(folder, tmp_path):
    sent = []

    class Elsewhere(ThreadPoolExecutor):
        def submit(self, function, job):
            sent.extend(name for name, _ in job.items)
            return super().submit(function, job)

    with Elsewhere(1) as executor:
        extract(folder, tmp_path / "f.h5", config(), run=RunConfig("cpu", workers=1), executor=executor)
    assert sent == ["blob ö.png", "flat ö.png", "noise ö.png"]
