"""`desdis-match localize`: photos below a folder -> poses.txt and poses.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2  # noqa: F401 - before pycolmap, see cameras.py

from . import stages
from .cameras import read_photo_info
from .colmap import read_model
from .errors import InputError, NoModelError
from .extract import ExtractConfig, Extractor
from .files import atomic_path
from .joining import QUARTER_TURNS, described_turned, joining_orientation
from .localize import Localization, LocalizeConfig, Localizer
from .options import parse
from .progress import track
from .store import FeatureFile


def localize(
    model: Path,
    features: Path,
    queries: Path,
    output: Path,
    config: LocalizeConfig | None = None,
    *,
    run: stages.RunConfig | None = None,
) -> list[Localization]:
    """Poses of the photos below `queries`; one result a photo, sorted by name, also for those without a pose.

    model: folder of a COLMAP model. features: the features.h5 that it was made of; queries are extracted as
    it says. `output` gets features.h5 of the queries, poses.txt (`name qw qx qy qz tx ty tz` a line, camera
    from world, as hloc writes them; the last seven blanks divide, names may hold more) and poses.json.
    Raises InputError where model, features and settings do not belong together, or no query can be used.
    """
    run = run or stages.RunConfig()
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
        stages.make_folder(output)
        if (output / "features.h5").resolve() == Path(features).resolve():
            raise InputError(
                f"{output} holds the features of the model, which those of the queries would replace; give "
                "another --output"
            )
        extraction = ExtractConfig(**settings)
        if extraction.orientation == "auto":  # compares a set's photos; a query comes alone
            extraction = replace(
                extraction, orientation=joining_orientation(file.angles(name) for name in file.names())
            )
            turns = QUARTER_TURNS if extraction.orientation == "upright" else ()
        else:
            turns = ()
        own = stages.extract(queries, output / "features.h5", extraction, run=run, overwrite=True)
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
                for turn in turns:
                    if result.cam_from_world is not None:
                        break
                    again = described_turned(queries / name, upright, turn, extractor)
                    turned = localizer(name, again, photos[name])
                    result = max(result, turned, key=lambda one: one.num_inliers)
                results.append(result)
    left_out = stages.unusable_images(queries, own)
    results += [Localization(name, None, f"it {why}") for name, why in left_out.items()]
    results.sort(key=lambda result: result.name)
    _write(output, results)
    return results


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
    with atomic_path(output / "poses.json") as temporary:
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


@dataclass(frozen=True)
class LocalizeCommand:
    """Poses of new photos against a model, which stays as it is."""

    model: Path
    """Folder of a COLMAP model, such as OUT/sparse/0."""
    features: Path
    """The features.h5 that the model was made of, such as OUT/features.h5."""
    queries: Path
    """Folder of the photos to localize; its sub-folders are searched too."""
    output: Path = Path("localized")
    """Folder for poses.txt (`name qw qx qy qz tx ty tz`, camera from world), poses.json and features.h5."""
    config: LocalizeConfig = field(default_factory=LocalizeConfig)
    run: stages.RunConfig = field(default_factory=stages.RunConfig)


def main(argv: Sequence[str]) -> int:
    """`desdis-match localize`; exit code 3 when no photo is localized."""
    command = parse(LocalizeCommand, argv, "localize")
    results = localize(
        command.model, command.features, command.queries, command.output, command.config, run=command.run
    )
    width = max(len(result.name) for result in results)
    print(f"{'photo':<{width}}  keypoints  matches  inliers")
    for result in results:
        print(
            f"{result.name:<{width}}  {result.num_keypoints:9}  {result.num_matches:7}  "
            f"{result.num_inliers:7}" + ("" if result.cam_from_world else f"  no pose: {result.why}")
        )
    num_localized = sum(result.cam_from_world is not None for result in results)
    if not num_localized:
        raise NoModelError(
            f"none of {len(results)} photos was localized; see {command.output / 'poses.json'} for the "
            "matches of each, and check that they show the scene of the model"
        )
    print(f"{num_localized} of {len(results)} photos localized: {command.output / 'poses.txt'}")
    return 0
