"""`desdis-match localize`: photos below a folder -> poses.txt and poses.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..colmap.localization import Localization, LocalizeConfig, Localizer
from ..colmap.mapping import read_model
from ..errors import InputError
from ..features.extract import ExtractConfig, Extractor
from ..features.extract_later import described_turned
from ..features.orientation_policy import OrientationPolicy
from ..photos.cameras import read_photo_info
from ..photos.images import list_images
from ..storage.features_file import FeatureFile
from ..storage.run_folder import RunFolder, holds_run
from ..support.files import atomic_path, canonical_json, check_not_read
from ..support.progress import track
from .extraction import extract, listed_photos, unusable_images
from .resume import RunConfig, make_folder

POSES = "poses.json"
"""What is written last."""


def localize(
    model: Path,
    features: Path,
    queries: Path,
    output: Path,
    config: LocalizeConfig | None = None,
    *,
    run: RunConfig | None = None,
) -> list[Localization]:
    """Poses of the photos below `queries`; one result a photo, sorted by name, also for those without a pose.

    model: folder of a COLMAP model. features: the features.h5 that it was made of; queries are extracted as
    it says. `output` gets features.h5 of the queries, poses.txt (`name qw qx qy qz tx ty tz` a line, camera
    from world, as hloc writes them; the last seven blanks divide, names may hold more) and poses.json.
    Raises InputError where model, features and settings do not belong together, no query can be used, or
    `output` holds a run or features of other photos.
    """
    run = run or RunConfig()
    listed_photos(queries)
    check_not_read(output, queries)
    reconstruction = read_model(model)
    with FeatureFile(features) as file:
        settings = (file.config or {}).get("extract")
        fingerprint = (file.config or {}).get("descriptor")
        localizer = Localizer(reconstruction, file, config, run.device)
        if settings is None:
            raise InputError(
                f"{features} does not say how it was extracted, so queries cannot be described alike; "
                "make it with `desdis-match extract`"
            )
        policy = OrientationPolicy(ExtractConfig(**settings))
        newcomer = policy.of_newcomer(file.angles(name) for name in file.names())
        extraction = newcomer.config
        _check_output(output, features, queries, extraction)
        make_folder(output)
        own = extract(queries, output / "features.h5", extraction, run=run, overwrite=True)
        with FeatureFile(own) as found:
            if (found.config or {}).get("descriptor") != fingerprint:
                raise InputError(
                    f"descriptor '{settings['descriptor']}' has other weights now than when {features} was "
                    "made; extract the photos of the model again"
                )
            names = found.names()
            photos = read_photo_info(queries, {name: found.image_size(name) for name in names})
            extractor = Extractor(extraction, run.device)
            results = []
            for name in track(names, "localize", len(names), "photos"):
                upright = found.get(name)
                result = localizer(name, upright, photos[name])
                for turn in newcomer.turns:
                    if result.cam_from_world is not None:
                        break
                    again = described_turned(queries / name, upright, turn, extractor)
                    turned = localizer(name, again, photos[name])
                    result = max(result, turned, key=lambda one: one.num_inliers)
                results.append(result)
    left_out = unusable_images(queries, own)
    results += [Localization(name, None, f"it {why}") for name, why in left_out.items()]
    results.sort(key=lambda result: result.name)
    _write(output, results)
    return results


def _check_output(output: Path, features: Path, queries: Path, extraction: ExtractConfig) -> None:
    """Raise InputError where the queries' features.h5 would replace one that is not an earlier call's."""
    own = RunFolder(output).features
    if own.resolve() == Path(features).resolve():
        raise InputError(
            f"{output} holds the features of the model, which those of the queries would replace; give "
            "another --output"
        )
    if holds_run(output):
        raise InputError(
            f"{output} holds a run, whose features those of the queries would replace; give another --output"
        )
    if not own.is_file() or (output / POSES).is_file():
        return
    with FeatureFile(own) as there:  # a call that was killed leaves them without poses
        names, made = there.names(), (there.config or {}).get("extract")
    same = canonical_json(made or {}) == canonical_json(asdict(extraction))
    if not same or not set(names) <= set(list_images(queries)):
        raise InputError(
            f"{own} is of other photos or other options, and would be replaced; give another --output"
        )


def pose_line(result: Localization) -> str:
    """`name qw qx qy qz tx ty tz` of a localized photo."""
    assert result.cam_from_world is not None
    x, y, z, w = result.cam_from_world.rotation.quat
    numbers = (w, x, y, z, *result.cam_from_world.translation)
    return " ".join([result.name, *(repr(float(number)) for number in numbers)])


def _write(output: Path, results: Sequence[Localization]) -> None:
    with atomic_path(output / "poses.txt") as temporary:
        lines = [pose_line(result) + "\n" for result in results if result.cam_from_world is not None]
        temporary.write_text("".join(lines), encoding="utf-8")
    with atomic_path(output / POSES) as temporary:
        table = {result.name: _as_json(result) for result in results}
        temporary.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _as_json(result: Localization) -> dict[str, Any]:
    camera = result.camera
    return {
        "localized": result.cam_from_world is not None,
        "why": result.why,
        "keypoints": result.num_keypoints,
        "matches": result.num_matches,
        "inliers": result.num_inliers,
        "images": dict(result.images),
        "camera": camera
        and {
            "source": result.camera_source,
            "model": camera.model_name,
            "width": camera.width,
            "height": camera.height,
            "params": [float(value) for value in camera.params],
        },
    }
