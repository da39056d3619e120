"""OpenCV: a Feature2D of ours on OpenCV's keypoints and with its matcher."""

import pickle

import cv2
import numpy as np
import pytest
from photo import NUM

from desdis_match.errors import InputError
from desdis_match.plugins.opencv import DesDis_create


def test_opencv_describes_the_given_keypoints_in_their_order(photos):
    image = cv2.imread(str(photos[0]))
    keypoints = cv2.SIFT_create(100).detect(image, None)
    again, rows = DesDis_create().compute(image, keypoints)
    assert again == tuple(keypoints)
    assert rows.shape == (len(keypoints), 128)
    assert rows.dtype == np.float32
    _, backwards = DesDis_create().compute(image, keypoints[::-1])
    assert np.allclose(backwards[::-1], rows, atol=1e-5)


@pytest.mark.parametrize(("turn", "degrees"), [(cv2.ROTATE_90_CLOCKWISE, 90), (cv2.ROTATE_180, 180)])
def test_opencv_angles_turn_as_the_picture_turns(photos, turn: int, degrees: int):
    """A keypoint and the same keypoint in the turned picture, its angle turned along, look the same."""
    image = cv2.imread(str(photos[0]), cv2.IMREAD_GRAYSCALE)
    keypoints = [cv2.KeyPoint(x, y, 6.0, 30.0) for x in (120.0, 200.0, 280.0) for y in (100.0, 150.0, 200.0)]
    height, width = image.shape
    move = {90: lambda x, y: (height - 1 - y, x), 180: lambda x, y: (width - 1 - x, height - 1 - y)}[degrees]
    turned = [cv2.KeyPoint(*move(*k.pt), k.size, k.angle + degrees) for k in keypoints]
    desdis = DesDis_create()
    rows = desdis.compute(image, keypoints)[1]
    turned_rows = desdis.compute(cv2.rotate(image, turn), turned)[1]
    assert (rows * turned_rows).sum(1).min() > 0.98
    mirrored = [cv2.KeyPoint(*k.pt, k.size, 60.0 - k.angle) for k in turned]  # angles in the other sense
    assert (rows * desdis.compute(cv2.rotate(image, turn), mirrored)[1]).sum(1).max() < 0.96


def test_opencv_keypoints_give_the_descriptors_they_came_with(photos, features):
    image = cv2.imread(str(photos[0]), cv2.IMREAD_GRAYSCALE)
    desdis = DesDis_create(NUM)
    keypoints, rows = desdis.detectAndCompute(image, None)
    assert np.allclose([k.pt for k in keypoints], features[0].keypoints, atol=0.01)
    assert np.allclose(rows, features[0].descriptors, atol=0.02)
    assert (rows * desdis.compute(image, keypoints)[1]).sum(1).min() > 0.999


def test_opencv_descriptors_match_with_bfmatcher(photos):
    desdis = DesDis_create(NUM)
    (points0, rows0), (points1, rows1) = (desdis.detectAndCompute(cv2.imread(str(photo))) for photo in photos)
    matches = cv2.BFMatcher(desdis.defaultNorm(), crossCheck=True).match(rows0, rows1)
    source, target = (
        np.float32([points[getattr(m, side)].pt for m in matches])
        for points, side in ((points0, "queryIdx"), (points1, "trainIdx"))
    )
    _, inliers = cv2.findFundamentalMat(source, target, cv2.FM_RANSAC, 1.0, 0.999)
    assert inliers.sum() > 0.4 * len(matches) > 30
    assert (desdis.descriptorSize(), desdis.descriptorType()) == (rows0.shape[1], cv2.CV_32F)


def test_opencv_masks_kinds_of_pictures_and_bad_input(photos):
    gray = cv2.imread(str(photos[0]), cv2.IMREAD_GRAYSCALE)
    desdis = DesDis_create(100)
    mask = np.zeros_like(gray)
    mask[:, 200:] = 255
    assert min(k.pt[0] for k in desdis.detect(gray, mask)) >= 199.5
    points = [cv2.KeyPoint(150, 150, 8, 0)]
    expected = desdis.compute(gray, points)[1]
    for same in (
        gray.astype(np.uint16) * 257,
        gray.astype(np.float32) / 255,
        gray[..., None],
        cv2.merge([gray] * 3),
        cv2.merge([gray] * 3) / 255,  # float64
        cv2.merge([gray] * 3).astype(np.int64) * ((2**63 - 1) // 255),
    ):
        assert np.allclose(desdis.compute(same, points)[1], expected, atol=1e-3)
    assert desdis.compute(gray, [])[1].shape == (0, 128)
    assert desdis.detectAndCompute(np.full_like(gray, 90))[1].shape == (0, 128)
    with pytest.raises(InputError, match="size 0"):
        desdis.compute(gray, [cv2.KeyPoint(5, 5, 0)])
    with pytest.raises(InputError, match="an image of shape"):
        desdis.compute(np.zeros((4, 4, 4, 4), np.uint8), points)


def test_opencv_calls_of_sift_s_signature(photos):
    images = [cv2.imread(str(photo), cv2.IMREAD_GRAYSCALE) for photo in photos]
    desdis = DesDis_create(60, upright=True)
    keypoints, rows = desdis.detectAndCompute(images[0], None)
    again = desdis.detectAndCompute(images[0], None, keypoints, True)
    assert again[0] == keypoints and np.allclose(again[1], rows, atol=0.05)
    lists = desdis.detect(images)
    assert [len(found) for found in lists] == [len(desdis.detect(image)) for image in images]
    points, descriptors = desdis.compute(images, lists)
    assert [len(p) for p in points] == [len(d) for d in descriptors] == [len(found) for found in lists]
    assert desdis.getDefaultName() == "Feature2D.DesDis" and not desdis.empty()
    assert np.allclose(desdis.detectAndCompute(images[0].astype(np.float32))[1], rows, atol=1e-3)  # 0..255
    with pytest.raises(InputError, match="the mask is of shape"):
        desdis.detectAndCompute(images[0], np.ones((10, 10), np.uint8))
    copied = pickle.loads(pickle.dumps(desdis))
    assert np.array_equal(copied.detectAndCompute(images[0])[1], rows)


def test_opencv_keywords_of_sift(photos):
    image = cv2.imread(str(photos[0]), cv2.IMREAD_GRAYSCALE)
    few = DesDis_create(0, upright=True, contrastThreshold=0.12).detect(image)
    more = DesDis_create(nfeatures=0, upright=True, contrastThreshold=0.03).detect(image)
    edges = DesDis_create(0, upright=True, contrastThreshold=0.03, edgeThreshold=20).detect(image)
    assert 0 < len(few) < len(more) < len(edges)
