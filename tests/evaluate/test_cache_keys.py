"""What a stored prediction's key holds: all that changes it, in every task."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from desdis_match.evaluate.contenders import CompareConfig, Contender
from desdis_match.evaluate.patches import hpatches, phototour
from desdis_match.evaluate.patches.phototour import PhotoTourConfig
from desdis_match.evaluate.planes import homographies
from desdis_match.evaluate.planes.baselines import Baseline
from desdis_match.evaluate.poses import two_view
from desdis_match.evaluate.shared import SharedPhoto
from desdis_match.features.detectors import DetectorConfig
from desdis_match.matching.match import MatchConfig
from desdis_match.support.files import canonical_json


class Asked(Exception):
    """Raised with the key instead of looking anything up."""


class Notebook:
    """A cache that only says under which key it was asked."""

    def get(self, key, compute):
        raise Asked(canonical_json(key))


def key_of(ask, *arguments) -> str:
    with pytest.raises(Asked) as asked:
        ask(*arguments)
    return str(asked.value)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setattr(CompareConfig, "predictions", lambda self: Notebook())


@pytest.fixture
def photos(tmp_path):
    for i in (1, 2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30), i, np.uint8))
    return [tmp_path / "1.png", tmp_path / "2.png"]


CONTENDER = Contender("net", None, "weights")
RUN = CompareConfig(device="cpu", engine="torch")
PLAIN = DetectorConfig(max_keypoints=100, orientation="upright")
OTHERS = [
    {"run": replace(RUN, engine="onnxruntime")},
    {"run": replace(RUN, device="cuda")},
    {"detection": replace(PLAIN, orientation="auto")},
    {"detection": replace(PLAIN, orientation="multi")},
    {"detection": replace(PLAIN, max_keypoints=99)},
    {"detection": replace(PLAIN, detector="dog+hessian")},
    {"max_size": 25},
    {"contender": replace(CONTENDER, fingerprint="others")},
]


def distinct(ask, base: dict, others: list[dict]) -> None:
    """Each changed option gives a key of its own, and the same options the same key."""
    keys = [key_of(ask, base | changed) for changed in [{}, *others]]
    assert len(set(keys)) == len(keys)
    assert key_of(ask, base) == keys[0]


def test_of_matches_of_a_pair(photos):
    def ask(options):
        contender = options.pop("contender", CONTENDER)
        case = two_view.Case("g", "a b", options.pop("paths", tuple(photos)))
        two_view.PairPhotos(two_view.PairTaskConfig(**options)).matched(case, contender)

    others = [*OTHERS, {"match": MatchConfig(ratio=0.7)}, {"paths": tuple(photos[::-1])}]
    distinct(ask, {"run": RUN, "detection": PLAIN}, others)


def test_of_neighbours_on_planes(photos):
    def ask(options):
        contender = options.pop("contender", CONTENDER)
        config = homographies.HomographyConfig(root=(photos[0].parent,), **options)
        shared = {
            k: SharedPhoto(
                path, config.detection, Notebook(), config.max_size, config.frame_scale, config.run.device
            )
            for k, path in enumerate(photos, start=1)
        }
        homographies.neighbours_by(contender, shared, config, Notebook())

    distinct(ask, {"run": RUN, "detection": PLAIN}, [*OTHERS, {"frame_scale": 6.0}])


def test_of_local_features_on_planes(photos):
    def ask(options):
        baseline = options.pop("baseline")
        config = homographies.HomographyConfig(root=(photos[0].parent,), **options)
        shared = {k: SharedPhoto(path, PLAIN, Notebook()) for k, path in enumerate(photos, start=1)}
        homographies.neighbours_by(baseline, shared, config, Notebook())

    baseline = Baseline("sift", "1", None)
    base = {"baseline": baseline, "run": RUN, "detection": PLAIN}
    others = [
        {"baseline": replace(baseline, fingerprint="2")},
        {"run": replace(RUN, device="cuda")},
        {"detection": replace(PLAIN, max_keypoints=99)},
        {"max_size": 25},
    ]
    distinct(ask, base, others)


def test_of_frames(photos):
    def ask(options):
        SharedPhoto(cache=Notebook(), **options).detection  # noqa: B018

    base = {"path": photos[0], "detector": PLAIN, "max_size": 30, "device": "cpu"}
    others = [
        {"path": photos[1]},
        {"detector": replace(PLAIN, orientation="dominant")},
        {"max_size": 20},
        {"device": "cuda"},
    ]
    distinct(ask, base, others)


PATCH_RUNS = [{"run": replace(RUN, engine="onnxruntime")}, {"run": replace(RUN, device="cuda")}]


def test_of_descriptors_of_hpatches(tmp_path):
    def ask(options):
        patches = SimpleNamespace(names=["v_one"], hashes={"v_one": options.get("data", "a")})
        hpatches.describe_all(options.get("contender", CONTENDER), tmp_path, patches, options["run"])

    others = [*PATCH_RUNS, {"contender": replace(CONTENDER, fingerprint="others")}, {"data": "b"}]
    distinct(ask, {"run": RUN}, others)


def test_of_distances_of_phototour(tmp_path, monkeypatch):
    def ask(options):
        folder = tmp_path / options.get("folder", "one")
        folder.mkdir(exist_ok=True)
        level = {"one": 1, "two": 2}[folder.name]
        cv2.imwrite(str(folder / "patches0000.bmp"), np.full((1024, 1024), level, np.uint8))
        (folder / "info.txt").write_text("".join(f"{i // 4} 0\n" for i in range(256)))
        contender = options.get("contender", CONTENDER)
        monkeypatch.setattr(phototour, "load_contenders", lambda run: [contender])
        pairs = PhotoTourConfig(root=(folder,), num_pairs=20, seed=options.get("seed", 0), run=options["run"])
        phototour.evaluate_phototour(pairs)

    others = [*PATCH_RUNS, {"contender": replace(CONTENDER, fingerprint="b")}, {"folder": "two"}, {"seed": 1}]
    distinct(ask, {"run": RUN}, others)
