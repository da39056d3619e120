"""Why no model formed, or why an image is not in it: what each stage left to the next, from a database.

keypoints -> matches -> verified pairs -> connected components of the view graph -> registered images: the
first stage that runs dry is named, with its numbers and what to try.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..storage.hdf5 import file_config
from ..support.native import pycolmap
from .database import connect
from .verification import VerifyConfig
from .view_graph import components

Stage = Literal["", "keypoints", "matches", "verified pairs", "connected components", "mapping"]

FEW_KEYPOINTS = 100
"""An image with fewer hardly ever registers: COLMAP wants 30 inliers of a pose."""

MIN_INLIERS = VerifyConfig().min_num_inliers

FLAT_KINDS = ("PLANAR", "PANORAMIC", "PLANAR_OR_PANORAMIC")
"""Two-view geometries that a homography explains: they give no depth."""

FURTHER = {
    "pairs": "more pairs (--pairs exhaustive)",
    "filter": "--filter consensus",
    "views": "--views 5 where surfaces are seen at a slant",
}
"""What may bring verified pairs."""


@dataclass(frozen=True)
class ImageRecord:
    """What one image brought to each stage."""

    name: str
    num_keypoints: int
    num_matched_pairs: int  # pairs with a raw match
    num_matches: int  # raw matches over all its pairs
    num_verified_pairs: int
    num_inliers: int  # over all its verified pairs
    component: int  # of the view graph, 0 = the largest; -1 = no verified pair
    model: int  # that it is registered in, -1 = none
    reason: str  # why it is not registered; empty when it is


@dataclass(frozen=True)
class Diagnosis:
    """What each stage left to the next. `starved` is empty when every image is registered in one model."""

    images: tuple[ImageRecord, ...]
    num_pairs: int
    num_matched_pairs: int
    num_verified_pairs: int
    kinds: dict[str, int]  # of the verified pairs, COLMAP's names
    components: tuple[
        tuple[str, ...], ...
    ]  # image names, largest first; images without a verified pair: none
    num_registered: int
    starved: Stage
    explanation: str  # a sentence with the numbers and what to try


def starvation(
    database_path: Path,
    models: Sequence[pycolmap.Reconstruction] = (),
    min_inliers: int = MIN_INLIERS,
    tried: Collection[str] = (),
) -> Diagnosis:
    """Follow a database through the stages. `models`: what mapping made of it, largest first.

    min_inliers: of a verified pair, as in VerifyConfig. tried: of FURTHER, what was done already; that is not
    advised (`already_tried`). Raises InputError for a damaged database.
    """
    with connect(database_path) as connection:
        names = dict(connection.execute("SELECT image_id, name FROM images ORDER BY image_id"))
        keypoints = dict(connection.execute("SELECT image_id, rows FROM keypoints"))
        raw = _by_images(connection.execute("SELECT pair_id, rows FROM matches"))
        rows = connection.execute("SELECT pair_id, rows, config FROM two_view_geometries").fetchall()
    checked = _by_images((pair_id, num) for pair_id, num, _ in rows)
    verified = {pair: num for pair, num in checked.items() if num >= min_inliers}
    kinds = Counter(pycolmap.TwoViewGeometryConfiguration(c).name for _, num, c in rows if num >= min_inliers)
    joined = components(list(names), list(verified))
    component_of = {image_id: i for i, members in enumerate(joined) for image_id in members}
    matches_of, inliers_of, checked_of = (_of_image(names, pairs) for pairs in (raw, verified, checked))
    model_of: dict[str, int] = {}
    for number, model in enumerate(models):
        for image_id in model.reg_image_ids():
            model_of.setdefault(model.image(image_id).name, number)
    mapped = {component_of.get(image_id) for image_id, name in names.items() if name in model_of}
    images = []
    for image_id, name in names.items():
        image = ImageRecord(
            name=name,
            num_keypoints=keypoints.get(image_id, 0),
            num_matched_pairs=sum(num > 0 for num in matches_of[image_id]),
            num_matches=sum(matches_of[image_id]),
            num_verified_pairs=len(inliers_of[image_id]),
            num_inliers=sum(inliers_of[image_id]),
            component=component_of.get(image_id, -1),
            model=model_of.get(name, -1),
            reason="",
        )
        if image.model < 0:
            best_pair = max(matches_of[image_id], default=0), max(checked_of[image_id], default=0)
            image = replace(image, reason=_why(image, *best_pair, min_inliers, image.component in mapped))
        images.append(image)
    diagnosis = Diagnosis(
        images=tuple(images),
        num_pairs=len(raw),
        num_matched_pairs=sum(num > 0 for num in raw.values()),
        num_verified_pairs=len(verified),
        kinds=dict(sorted(kinds.items())),
        components=tuple(tuple(names[i] for i in members) for members in joined),
        num_registered=len(model_of),
        starved="",
        explanation="",
    )
    best = max(raw.values(), default=0), max(checked.values(), default=0)
    every = len(names) * (len(names) - 1) // 2
    if len(raw) == every:
        tried = {*tried, "pairs"}
    starved, explanation = _explain(diagnosis, models, min_inliers, *best, tried)
    return replace(diagnosis, starved=starved, explanation=explanation)


def already_tried(features: Path, matches: Path) -> set[str]:
    """Of FURTHER, what these files were made with; nothing where they do not say."""
    extract = (file_config(features) or {}).get("extract", {})
    match = (file_config(matches) or {}).get("match", {})
    used = {"filter": match.get("filter") == "consensus", "views": extract.get("views", 1) > 1}
    return {name for name, yes in used.items() if yes}


PairCounts = dict[tuple[int, int], int]


def _by_images(rows: Iterable[tuple[int, int]]) -> PairCounts:
    result = {}
    for pair_id, num in rows:
        image_id0, image_id1 = pycolmap.pair_id_to_image_pair(pair_id)
        result[image_id0, image_id1] = num
    return result


def _of_image(names: Iterable[int], pairs: PairCounts) -> dict[int, list[int]]:
    """The numbers of an image's pairs."""
    result: dict[int, list[int]] = {image_id: [] for image_id in names}
    for pair, num in pairs.items():
        for image_id in pair:
            result[image_id].append(num)
    return result


def _why(image: ImageRecord, matches: int, inliers: int, min_inliers: int, with_model: bool) -> str:
    """Why an image is in no model. matches, inliers: of its best pair."""
    if image.num_keypoints < min_inliers:
        return f"{image.num_keypoints} keypoints: blurred, without texture, or masked"
    if image.num_matched_pairs == 0 and image.num_matches == 0:
        return "no match with any other image, or in no pair"
    if matches < min_inliers:
        return f"its best pair has {matches} matches, {min_inliers} are needed"
    if image.num_verified_pairs == 0:
        return f"its best pair has {inliers} matches that agree with a geometry, {min_inliers} are needed"
    if not with_model:
        return "no model formed of the images that it is verified with"
    return f"too few of its {image.num_inliers} verified matches see points of a model"


def _explain(
    d: Diagnosis,
    models: Sequence[pycolmap.Reconstruction],
    min_inliers: int,
    best_matches: int,
    best_inliers: int,
    tried: Collection[str],
) -> tuple[Stage, str]:
    """The first stage that ran dry, in a sentence; nothing when one model holds every image."""
    total = len(d.images)
    if models and models[0].num_reg_images() == total:
        return "", ""
    poor = [image for image in d.images if image.num_keypoints < FEW_KEYPOINTS]
    if total - len(poor) < 2:
        most = max((image.num_keypoints for image in d.images), default=0)
        return "keypoints", (
            f"{len(poor)} of {total} images have fewer than {FEW_KEYPOINTS} keypoints (the best has {most}): "
            "try another --detector, a larger --max-size, or sharper photos with more texture"
        )
    if d.num_pairs == 0 or d.num_verified_pairs == 0:
        if best_matches < min_inliers:
            return "matches", (
                f"{d.num_pairs} pairs were matched and the best has {best_matches} matches: "
                + _advice("photos that overlap more", tried)
            )
        return "verified pairs", (
            f"{d.num_matched_pairs} of {d.num_pairs} pairs have matches, the best {best_matches}, but at "
            f"most {best_inliers} of a pair agree with one geometry: try a stricter --ratio, "
            "--orientation upright where no camera was turned, or photos that overlap more"
        )
    largest = len(d.components[0])
    flat = sum(d.kinds.get(kind, 0) for kind in FLAT_KINDS)
    if not models:
        if largest < total and largest < 3:
            return "connected components", (
                f"{d.num_verified_pairs} verified pairs leave the images in pieces, the largest of "
                f"{largest} of {total} images: {_advice('photos between those that you have', tried)}"
            )
        if 2 * flat > d.num_verified_pairs:
            return "mapping", (
                f"{flat} of {d.num_verified_pairs} verified pairs show a flat scene or a camera that only "
                "turned, which gives no depth: take photos from different places"
            )
        return "mapping", (
            f"{d.num_verified_pairs} pairs are verified and connect {largest} of {total} images, but no two "
            f"of them start a model (the best pair has {best_inliers} inliers): try known --camera-params, "
            "more --max-keypoints, or photos from places further apart"
        )
    left_out = total - d.num_registered
    if len(d.components) > 1 or largest < total:
        return "connected components", (
            f"the verified pairs connect {largest} of {total} images, {left_out} are in no model: "
            + _advice("photos between those that you have", tried)
        )
    return "mapping", (
        f"all {total} images are connected by verified pairs, {models[0].num_reg_images()} of them are in "
        f"the best of {len(models)} models and {left_out} in none: try more --max-keypoints, known "
        "--camera-params, or photos between those that you have"
    )


def _advice(last: str, tried: Collection[str]) -> str:
    """What to try that was not tried yet, `last` at any rate."""
    *others, last = [*(text for name, text in FURTHER.items() if name not in tried), last]
    return f"try {', '.join(others)}{', or ' if len(others) > 1 else ' or ' if others else ''}{last}"
