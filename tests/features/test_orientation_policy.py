"""What orientation auto means for a photo of a set, a newcomer and a photo alone."""

import math

import cv2
import numpy as np
import pytest

from desdis_match.descriptors import load_descriptor
from desdis_match.errors import InputError
from desdis_match.features.detectors import DetectorConfig, detect
from desdis_match.features.extract import ExtractConfig, extract_image
from desdis_match.features.orientation_policy import OrientationPolicy
from desdis_match.matching.match import match_features
from desdis_match.photos.images import GrayImage

ONE_ANGLE, MANY_ANGLES = np.full(50, 0.4, np.float32), np.linspace(-3, 3, 50, dtype=np.float32)


def test_auto_is_decided_by_who_is_asked_for():
    policy = OrientationPolicy(ExtractConfig(max_keypoints=7))
    assert policy.compares
    assert policy.of_set == ExtractConfig(max_keypoints=7, orientation="upright")
    assert policy.of_one == ExtractConfig(max_keypoints=7, orientation="multi")


def test_a_newcomer_is_turned_by_quarters_where_photos_have_one_angle():
    policy = OrientationPolicy(ExtractConfig())
    newcomer = policy.of_newcomer([ONE_ANGLE, MANY_ANGLES, ONE_ANGLE[:0]])
    assert newcomer.config.orientation == "upright"
    assert newcomer.turns == (math.pi / 2, -math.pi / 2, math.pi)
    newcomer = policy.of_newcomer([ONE_ANGLE, MANY_ANGLES, MANY_ANGLES])
    assert newcomer.config.orientation == "multi" and newcomer.turns == ()
    newcomer = policy.of_newcomer([MANY_ANGLES, ONE_ANGLE])  # as many of each
    assert newcomer.config.orientation == "upright"


@pytest.mark.parametrize("orientation", ["upright", "dominant", "multi", "learned"])
def test_what_the_user_chose_stays(orientation: str):
    config = DetectorConfig(orientation=orientation)  # type: ignore[arg-type]
    policy = OrientationPolicy(config)
    assert not policy.compares
    assert policy.of_set is config and policy.of_one is config
    newcomer = policy.of_newcomer([MANY_ANGLES])
    assert newcomer.config is config and newcomer.turns == ()


def test_photos_extracted_one_by_one_match_when_one_is_turned():
    random = np.random.default_rng(4).random((240, 240)).astype(np.float32)
    pixels = cv2.normalize(cv2.GaussianBlur(random, (0, 0), 2.0), None, 0, 1, cv2.NORM_MINMAX)
    config = ExtractConfig(max_keypoints=300)
    descriptor = load_descriptor("rootsift")
    views = [pixels, np.rot90(pixels).copy()]
    features = [extract_image(GrayImage(v, (240, 240), (1.0, 1.0)), config, descriptor) for v in views]
    matches = match_features(*features)
    x, y = features[0].keypoints[matches.indices[:, 0]].T
    expected = np.column_stack([y, 239 - x])  # a quarter turn to the left
    error = np.linalg.norm(features[1].keypoints[matches.indices[:, 1]] - expected, axis=1)
    assert (error < 1).sum() > 100


def test_frames_of_a_grid_alone_cannot_be_auto():
    with pytest.raises(InputError, match="orientation auto compares the photos of a set: `extract` does"):
        detect(np.random.default_rng(1).random((64, 64)).astype(np.float32), DetectorConfig())
