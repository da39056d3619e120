"""OpenCV: the drop-in for code that uses cv2.SIFT_create().

desdis = DesDis_create()
keypoints, descriptors = desdis.compute(image, sift.detect(image, None))
matches = cv2.BFMatcher(desdis.defaultNorm(), crossCheck=True).match(descriptors, other_descriptors)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..conventions import from_degrees, sigma_from_scale, to_degrees
from ..descriptors import DEFAULT_DESCRIPTOR
from ..errors import InputError
from ..features.extract import ExtractConfig, describe_keypoints
from ..photos.images import GrayImage
from ..storage.keypoint_files import GivenKeypoints
from ..types import Features, Float32
from .common import ORIENTATION, PictureExtractor

FLOAT_WHITE = 1.5
"""A picture of floats that goes higher is one of 0..255."""
SIFT_LAYERS = 3
"""cv2.SIFT divides its contrast threshold by its layers an octave, of which there are three by default."""
ALL_FEATURES = 1_000_000
"""More than any picture has."""

SIGMAS_PER_SIZE = 0.5
"""A cv2.KeyPoint's size is the diameter of its blob: twice the sigma in cv2.SIFT's keypoints."""


Pictures = Any
"""A picture (NumPy array), or a list of them."""
Found = tuple[tuple[cv2.KeyPoint, ...], Float32]


class DesDis:
    """What people use of cv2.Feature2D: detect, compute, detectAndCompute, descriptorSize, defaultNorm."""

    def __init__(self, extractor: PictureExtractor) -> None:
        self._extract = extractor

    def compute(self, images: Pictures, keypoints: Sequence[Any]) -> tuple[Any, Any]:
        """Descriptors (N, D) float32 of the given keypoints, all of them and in their order.

        images: (H, W) or (H, W, 3) blue first, uint8, uint16 or float in [0, 1] or 0..255; or a list of such,
        with a list of keypoints each, which gives lists. A keypoint without an angle (-1) is oriented by its
        gradients where all are without, and upright otherwise.
        """
        if isinstance(images, (list, tuple)):
            made = [self._compute(image, points) for image, points in zip(images, keypoints, strict=True)]
            return [points for points, _ in made], [rows for _, rows in made]
        return self._compute(images, keypoints)

    def _compute(self, image: NDArray[Any], keypoints: Sequence[cv2.KeyPoint]) -> Found:
        keypoints = tuple(keypoints)
        if not keypoints:
            return (), np.empty((0, self.descriptorSize()), np.float32)
        places = np.array([keypoint.pt for keypoint in keypoints], np.float32)
        sigmas = np.array([keypoint.size for keypoint in keypoints], np.float32) * np.float32(SIGMAS_PER_SIZE)
        degrees = np.array([keypoint.angle for keypoint in keypoints], np.float32)
        if not (sigmas > 0).all():
            raise InputError("a keypoint has size 0; give each cv2.KeyPoint the diameter of its blob")
        angles = None if (degrees < 0).all() else from_degrees(np.maximum(degrees, 0))
        features = describe_keypoints(
            _gray(image),
            GivenKeypoints(places, sigmas, angles),
            self._extract.config,
            self._extract.descriptor(),
        )
        return keypoints, features.descriptors

    def detect(self, images: Pictures, masks: Any = None) -> Any:
        """Keypoints, best first. masks: (H, W), 0 = none there. Lists of both give a list."""
        if isinstance(images, (list, tuple)):
            each = [None] * len(images) if masks is None else masks
            return [self.detect(image, mask) for image, mask in zip(images, each, strict=True)]
        return self.detectAndCompute(images, masks)[0]

    def detectAndCompute(
        self,
        image: NDArray[Any],
        mask: NDArray[Any] | None = None,
        keypoints: Sequence[cv2.KeyPoint] | None = None,
        useProvidedKeypoints: bool = False,
    ) -> Found:
        """Keypoints and their descriptors (N, D); (0, D) where there are none.

        useProvidedKeypoints: describe `keypoints` and detect none. Raises InputError for a mask of another
        size.
        """
        if useProvidedKeypoints:
            return self._compute(image, keypoints or ())
        gray = _gray(image)
        if mask is not None and np.shape(mask) != gray.pixels.shape:
            raise InputError(
                f"the mask is of shape {np.shape(mask)}, the image of {gray.pixels.shape}: they must agree"
            )
        features = self._extract(gray.pixels, None if mask is None else np.asarray(mask) > 0)
        return _keypoints(features), features.descriptors

    def getDefaultName(self) -> str:
        """As cv2.Algorithm's."""
        return "Feature2D.DesDis"

    def empty(self) -> bool:
        """False: it can work."""
        return False

    def descriptorSize(self) -> int:
        """D."""
        return self._extract.descriptor().dim

    def descriptorType(self) -> int:
        """cv2.CV_32F."""
        return cv2.CV_32F

    def defaultNorm(self) -> int:
        """cv2.NORM_L2."""
        return cv2.NORM_L2


def DesDis_create(
    nfeatures: int = ExtractConfig.max_keypoints,
    descriptor: str = DEFAULT_DESCRIPTOR,
    detector: str = ExtractConfig.detector,
    upright: bool = False,
    *,
    contrastThreshold: float | None = None,
    edgeThreshold: float | None = None,
) -> DesDis:
    """Named as OpenCV's factories. `descriptor`: a name or a weight file; the rest is for detection.

    nfeatures 0: all. contrastThreshold, edgeThreshold: as cv2.SIFT_create's (its contrast is of three layers
    an octave); None: ours.
    """
    orientation = "upright" if upright else ORIENTATION
    thresholds = {}
    if contrastThreshold is not None:
        thresholds["contrast_threshold"] = contrastThreshold / SIFT_LAYERS
    if edgeThreshold is not None:
        thresholds["edge_threshold"] = edgeThreshold
    return DesDis(
        PictureExtractor(nfeatures or ALL_FEATURES, detector, orientation, descriptor, **thresholds)
    )


def _keypoints(features: Features) -> tuple[cv2.KeyPoint, ...]:
    sizes = sigma_from_scale(features.scales) / SIGMAS_PER_SIZE
    degrees = to_degrees(features.angles) % 360
    columns = zip(
        features.keypoints.tolist(), sizes.tolist(), degrees.tolist(), features.scores.tolist(), strict=True
    )
    return tuple(cv2.KeyPoint(x, y, size, angle, score) for (x, y), size, angle, score in columns)


def _gray(image: NDArray[Any]) -> GrayImage:
    image = np.asarray(image)
    white = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1
    if image.dtype not in (np.uint8, np.uint16):  # of the others cvtColor takes float32 alone
        image = image.astype(np.float32)
    if image.ndim == 3 and image.shape[2] in (3, 4):
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if image.shape[2] == 3 else cv2.COLOR_BGRA2GRAY)
    image = image.squeeze(-1) if image.ndim == 3 and image.shape[2] == 1 else image
    if image.ndim != 2 or image.size == 0:
        raise InputError(f"an image of shape {image.shape} was given; (H, W) or (H, W, 3) is needed")
    if white == 1 and float(np.nanmax(image)) > FLOAT_WHITE:
        white = 255
    pixels = image.astype(np.float32) / np.float32(white)
    return GrayImage(pixels, (pixels.shape[1], pixels.shape[0]), (1.0, 1.0))
