"""`python tests/planted.py [WORD]`: plants single faults in a copy of the package and says which are noticed.

Each fault of FAULTS (whose name or file holds WORD) is planted alone; the tests named with it are run on the
copy and must fail. Without faults they must pass. A fault whose text is no longer in its file once is an
error: write it anew. Exit code 1 when a fault survives. All take some ten minutes of one core.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from planting import copied, failing, write_module


@dataclass(frozen=True)
class Fault:
    """One wrong change, and the tests (files or node ids below tests/) of which one at least must fail."""

    name: str
    file: str  # below desdis_match/
    old: str  # exactly once in the file
    new: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "half pixel dropped where alignment reads a model",
        "colmap/observations.py",
        "xy[rows] = from_colmap(",
        "xy[rows] = np.asarray(",
        ("colmap/test_observations.py",),
    ),
    Fault(
        "half pixel dropped where alignment writes a model",
        "colmap/alignment.py",
        "places = to_colmap(aligned.xy)",
        "places = aligned.xy",
        ("colmap/test_alignment.py",),
    ),
    Fault(
        "no limit on alignment's shift",
        "colmap/alignment.py",
        " & (shift <= config.max_shift)",
        "",
        ("colmap/test_alignment.py",),
    ),
    Fault(
        "alignment believes what does not agree",
        "colmap/alignment.py",
        "good = (after >= config.min_correlation)",
        "good = (after >= -1)",
        ("colmap/test_alignment.py",),
    ),
    Fault(
        "alignment moves the reference's radius with the observation's sigma",
        "colmap/observations.py",
        "radius[reference][:, None, None]",
        "radius[:, None, None]",
        ("colmap/test_observations.py",),
    ),
    Fault(
        "alignment forgets the reference's own view",
        "colmap/observations.py",
        "shapes = views.jacobians @ back *",
        "shapes = views.jacobians *",
        ("colmap/test_observations.py",),
    ),
    Fault(
        "alignment takes the reference that sees least from the middle",
        "colmap/observations.py",
        "np.lexsort((-views.facing, barred, views.point))",
        "np.lexsort((views.facing, barred, views.point))",
        ("colmap/test_observations.py",),
    ),
    Fault(
        "alignment adjusts intrinsics that are given",
        "colmap/alignment.py",
        "options.refine_extra_params = not fix_intrinsics",
        "options.refine_extra_params = True",
        ("colmap/test_alignment.py",),
    ),
    Fault(
        "normals do not face the cameras",
        "colmap/tangent_planes.py",
        "normals = normals * np.sign(facing)[:, None]",
        "normals = normals * 1.0",
        ("colmap/test_observations.py",),
    ),
    Fault(
        "half pixel dropped in build-patches",
        "patchsets/from_model.py",
        "keypoint = from_colmap(image.points2D[element.point2D_idx].xy)",
        "keypoint = image.points2D[element.point2D_idx].xy",
        ("patchsets/test_from_model.py",),
    ),
    Fault(
        "half pixel dropped in build-patches' errors",
        "patchsets/from_model.py",
        "np.linalg.norm(from_colmap(projected) - keypoint)",
        "np.linalg.norm(projected - keypoint)",
        ("patchsets/test_from_model.py",),
    ),
    Fault(
        "colours read three rows off",
        "colmap/colours.py",
        "photo[place[:, 1].clip(0, height - 1)",
        "photo[(place[:, 1] + 3).clip(0, height - 1)",
        ("colmap/test_colours.py",),
    ),
    Fault(
        "a changed mask redoes nothing",
        "pipeline/resume.py",
        "paths.append(mask_path(masks, name))",
        "pass",
        ("pipeline/test_resume.py",),
    ),
    Fault(
        "a file replaced by one of the same size is taken for current",
        "pipeline/resume.py",
        '{s.st_size}-{s.st_mtime_ns}"',
        '{s.st_size}"',
        ("pipeline/test_resume.py",),
    ),
    Fault(
        "a file replaced by one of the same time is taken for current",
        "pipeline/resume.py",
        '{s.st_size}-{s.st_mtime_ns}"',
        '{s.st_mtime_ns}"',
        ("pipeline/test_resume.py",),
    ),
    Fault(
        "another program's features of the same size are taken for current",
        "pipeline/resume.py",
        "digest([status.st_size, status.st_mtime_ns])",
        "digest([status.st_size])",
        ("pipeline/test_resume.py",),
    ),
    Fault(
        "resume: what a killed run left beside a whole output stays",
        "pipeline/resume.py",
        "shutil.rmtree(parts_folder(output), ignore_errors=True)",
        "pass",
        ("pipeline/test_resume.py",),
    ),
    Fault(
        "a foreign database is overwritten without --overwrite",
        "pipeline/mapping.py",
        "if database.exists() and not overwrite and known is None:",
        "if False:",
        ("pipeline/test_mapping.py",),
    ),
    Fault(
        "a pair's seed without its names",
        "colmap/verification.py",
        r'f"{seed}\n{name0}\n{name1}"',
        'f"{seed}"',
        ("colmap/test_verification.py",),
    ),
    Fault(
        "matches counted twice in the report",
        "pipeline/report.py",
        "sum(image.matches for image in images.values()) // 2",
        "sum(image.matches for image in images.values())",
        ("pipeline/test_report.py",),
    ),
    Fault(
        "verified matches counted twice in the report",
        "pipeline/report.py",
        "sum(image.verified_matches for image in images.values()) // 2",
        "sum(image.verified_matches for image in images.values())",
        ("pipeline/test_report.py",),
    ),
    Fault(
        "peak memory of one process",
        "support/resources.py",
        "waiting += map(",
        "_ = map(",
        ("support/test_resources.py",),
    ),
    Fault(
        "a peak that has passed is forgotten",
        "support/resources.py",
        "max(now, self.usage.peak_bytes or 0)",
        "now",
        ("support/test_resources.py",),
    ),
    Fault(
        "seconds add up after options change",
        "pipeline/report.py",
        '        if before.get("configuration") != made_by:\n            before = {}\n',
        "",
        ("pipeline/test_report.py",),
    ),
    Fault(
        "sigma of given keypoints not scaled",
        "features/extract.py",
        "given.sigmas * np.float32(shrink)",
        "given.sigmas",
        ("features/test_extract.py",),
    ),
    Fault(
        "budget not kept after `multi`",
        "features/detectors.py",
        "Detections(lafs[: config.max_keypoints], scores[rows][: config.max_keypoints], pyramid)",
        "Detections(lafs, scores[rows], pyramid)",
        ("features/test_extract.py",),
    ),
    Fault(
        "budget not kept after `multi` in a set",
        "features/extract_set.py",
        "frames, rows = frames[: config.max_keypoints], rows[: config.max_keypoints]",
        "pass",
        ("features/test_extract.py",),
    ),
    Fault(
        "sequential and retrieval at a tenth of the photos",
        "matching/pairs/auto.py",
        "MAX_EXHAUSTIVE = 150",
        "MAX_EXHAUSTIVE = 15",
        ("matching/test_ways.py",),
    ),
    Fault(
        "a sequence without its far partners",
        "matching/pairs/sequential.py",
        "quadratic=True, loop=config.loop",
        "quadratic=False, loop=config.loop",
        ("matching/test_ways.py",),
    ),
    Fault(
        "a sequence that is not closed",
        "matching/pairs/sequential.py",
        "quadratic=True, loop=config.loop",
        "quadratic=True",
        ("matching/test_ways.py",),
    ),
    Fault(
        "sequential: a frame's number is the first of its name",
        "matching/pairs/sequential.py",
        "int(numbers[-1])",
        "int(numbers[0])",
        ("matching/test_ways.py",),
    ),
    Fault(
        "shared-camera rule: few sizes do not share",
        "photos/cameras.py",
        "return len(distinct) <= 1 or 4 * len(distinct) <= len(sizes)",
        "return len(distinct) <= 1",
        ("photos/test_cameras.py",),
    ),
    Fault(
        "shared-camera rule off: all share",
        "photos/cameras.py",
        "return len(distinct) <= 1 or 4 * len(distinct) <= len(sizes)",
        "return True",
        ("photos/test_cameras.py",),
    ),
    Fault(
        "pairs' cache key without the engine",
        "evaluate/poses/two_view.py",
        '"engine": self.config.run.engine,',
        "",
        ("evaluate/test_cache_keys.py",),
    ),
    Fault(
        "pairs' cache key without the orientation",
        "evaluate/poses/two_view.py",
        '"orientation": self.config.detection.orientation,',
        "",
        ("evaluate/test_cache_keys.py",),
    ),
    Fault(
        "planes' cache key without the engine",
        "evaluate/planes/homographies.py",
        '"engine": config.run.engine, "frame_scale"',
        '"frame_scale"',
        ("evaluate/test_cache_keys.py",),
    ),
    Fault(
        "planes' cache key without the orientation",
        "evaluate/planes/homographies.py",
        'key |= {"orientation": config.detection.orientation}',
        "pass",
        ("evaluate/test_cache_keys.py",),
    ),
    Fault(
        "HPatches' cache key without the engine",
        "evaluate/patches/hpatches.py",
        '"engine": config.engine,',
        "",
        ("evaluate/test_cache_keys.py",),
    ),
    Fault(
        "PhotoTour's cache key without the engine",
        "evaluate/patches/phototour.py",
        '            "engine": config.run.engine,\n            "code"',
        '            "code"',
        ("evaluate/test_cache_keys.py",),
    ),
    Fault(
        "code_hash of nothing",
        "evaluate/cache.py",
        "if not found or not found[0].is_file():",
        "if False:",
        ("evaluate/test_cache.py",),
    ),
    Fault(
        "code_hash does not follow imports",
        "evaluate/cache.py",
        "waiting += _imported(path, root)",
        "waiting += []",
        ("evaluate/test_cache.py",),
    ),
    Fault(
        "a prediction of another key is handed out",
        "evaluate/cache.py",
        'if arrays.pop("key json").tobytes().decode() == key:',
        'if arrays.pop("key json").tobytes().decode():',
        ("evaluate/test_cache.py",),
    ),
    Fault(
        "a prediction's key in another order is another",
        "evaluate/cache.py",
        "json.dumps(plain(key), sort_keys=True)",
        "json.dumps(plain(key))",
        ("evaluate/test_cache.py",),
    ),
    Fault(
        "AP ranked by distance though documented by ratio",
        "evaluate/planes/scores.py",
        "precision_recall(nearest.ratio(), correct",
        "precision_recall(nearest.distance, correct",
        ("evaluate/planes/test_homographies.py",),
    ),
    Fault(
        "epipolar threshold times 100",
        "evaluate/poses/two_view.py",
        "EPIPOLAR_THRESHOLD = 5e-4",
        "EPIPOLAR_THRESHOLD = 5e-2",
        ("evaluate/test_tasks.py::test_a_match_agrees_with_the_true_pose_within_half_a_thousandth",),
    ),
    Fault(
        "focal error without the photo's scale",
        "evaluate/poses/sfm_scores.py",
        "camera.width / true.size[0] if true.size else 1.0",
        "1.0",
        ("evaluate/poses/test_geometry.py",),
    ),
    Fault(
        "a newcomer is compared with its worst photo",
        "features/extract_later.py",
        "return max(len(match_descriptors(",
        "return min(len(match_descriptors(",
        ("features/test_extract_later.py",),
    ),
)


def plant(fault: Fault, package: Path) -> str:
    """Write the fault into a copy of the package; returns the file's text as it was.

    Raises LookupError when the text to change is not there exactly once.
    """
    path = package / fault.file
    text = path.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        raise LookupError(f"{fault.name}: {fault.file} holds {text.count(fault.old)} times {fault.old!r}")
    write_module(path, text.replace(fault.old, fault.new))
    return text


def main(word: str = "") -> int:
    """Plant the faults and report."""
    chosen = [fault for fault in FAULTS if word in fault.name or word in fault.file]
    survived = []
    with copied() as folder:
        tests = tuple(dict.fromkeys(test for fault in chosen for test in fault.tests))
        if failing(folder, tests):
            print("the tests fail without a fault; mend that first")
            return 1
        for fault in chosen:
            start = time.perf_counter()
            before = plant(fault, folder / "desdis_match")
            caught = failing(folder, fault.tests)
            write_module(folder / "desdis_match" / fault.file, before)
            told = "caught" if caught else "SURVIVED"
            print(f"{told:9} {time.perf_counter() - start:5.1f} s  {fault.name}", flush=True)
            survived += [] if caught else [fault]
    print(f"{len(chosen) - len(survived)} of {len(chosen)} faults are caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
