"""What runs on CUDA gives what the CPU gives: features, descriptors, matches, training, adapters.

`python -m pytest -m cuda`; skipped where torch sees no CUDA device. eval/gpu_check.py runs them and measures.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from desdis_match.commands.doctor import ENGINE_TOLERANCE, LEAST_TRUE_SHARE, self_test
from desdis_match.descriptors import load_descriptor
from desdis_match.distill import train as loop
from desdis_match.distill.augment import NO_AUGMENTATION
from desdis_match.distill.config import DataConfig, OptimConfig, StudentConfig, TeacherConfig, TrainConfig
from desdis_match.distill.record import read_log
from desdis_match.distill.warps import WarpConfig, make_textures
from desdis_match.features.extract import ExtractConfig, describe_keypoints, extract_image, read_photo
from desdis_match.features.extract_set import extract_together
from desdis_match.matching.match import MatchConfig, match_features
from desdis_match.patchsets.patchset import split
from desdis_match.storage.keypoint_files import GivenKeypoints
from desdis_match.types import Features

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

HALF = 5e-3
"""Largest difference of a component that half precision makes."""
NEAR = 0.01
"""Pixels by which rounding may move a keypoint."""


@pytest.fixture(scope="module")
def photos(scene_folder: Path) -> list[Path]:
    return sorted((scene_folder / "images").iterdir())[:2]


def partners(one: Features, other: Features) -> np.ndarray:
    """(M, 2) rows of the same keypoint: at one place, of one scale and angle."""
    from scipy.spatial import cKDTree

    def place(of: Features) -> np.ndarray:
        turn = np.stack([np.cos(of.angles), np.sin(of.angles)], 1)
        return np.concatenate([of.keypoints, 10 * np.log(of.scales)[:, None], 10 * turn], 1)

    distance, row = cKDTree(place(other)).query(place(one))
    near = np.flatnonzero(distance < 3 * NEAR)
    return np.stack([near, row[near]], 1)


def agree(on_cpu: Features, on_gpu: Features, least: float = 0.98, tolerance: float = 4 * HALF) -> None:
    assert abs(len(on_cpu) - len(on_gpu)) <= 0.01 * len(on_cpu) + 2
    rows = partners(on_cpu, on_gpu)
    assert len(rows) >= least * len(on_cpu) > 100
    apart = np.abs(on_cpu.descriptors[rows[:, 0]] - on_gpu.descriptors[rows[:, 1]]).max(1)
    assert np.quantile(apart, 0.99) < tolerance


@pytest.mark.parametrize("name", ["desdis-8", "desdis-16", "desdis-32", "desdis-fast", "rootsift"])
def test_descriptors_are_those_of_the_cpu(name: str) -> None:
    patches = torch.rand(300, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    patches[7] = 0.5  # without texture
    on_cpu = load_descriptor(name, device="cpu")(patches)
    on_gpu = load_descriptor(name, device="cuda")(patches.cuda())
    assert on_gpu.is_cuda and on_gpu.dtype == torch.float32
    assert (on_gpu.cpu() - on_cpu).abs().max() < (ENGINE_TOLERANCE if name == "rootsift" else HALF)
    assert len(load_descriptor(name, device="cuda")(patches[:0].cuda())) == 0


@pytest.mark.parametrize("detector", ["dog", "hessian", "dog+hessian", "hessian-multiscale"])
@pytest.mark.parametrize("orientation", ["upright", "dominant", "multi", "learned"])
def test_features_are_those_of_the_cpu(photos: list[Path], detector: str, orientation: str) -> None:
    config = ExtractConfig(detector=detector, orientation=orientation, max_keypoints=600)  # type: ignore[arg-type]
    on_cpu = extract_image(photos[0], config, load_descriptor(device="cpu"))
    on_gpu = extract_image(photos[0], config, load_descriptor(device="cuda"), device="cuda")
    agree(on_cpu, on_gpu, least=0.98 if orientation == "upright" else 0.95)


def test_masks_affine_frames_and_spread(photos: list[Path]) -> None:
    config = ExtractConfig(max_keypoints=400, affine=True, spread=True, orientation="upright")
    mask = np.ones((300, 400), bool)
    mask[:, :150] = False
    on_cpu = extract_image(photos[0], config, load_descriptor(device="cpu"), mask)
    on_gpu = extract_image(photos[0], config, load_descriptor(device="cuda"), mask, "cuda")
    assert on_gpu.keypoints[:, 0].min() >= 149.5
    rows = partners(on_cpu, on_gpu)
    assert len(rows) >= 0.9 * len(on_cpu) > 100


def test_given_keypoints_and_a_set_that_is_compared(photos: list[Path]) -> None:
    config = ExtractConfig(max_keypoints=500)
    places = [(device, load_descriptor(device=device)) for device in ("cpu", "cuda")]
    one, two = (extract_together(photos, config, descriptor, device) for device, descriptor in places)
    for on_cpu, on_gpu in zip(one, two, strict=True):
        agree(on_cpu, on_gpu)
    given = GivenKeypoints(one[0].keypoints, np.full(len(one[0]), 2.0, np.float32), None)
    described = [
        describe_keypoints(read_photo(photos[0], config), given, config, descriptor, device)
        for device, descriptor in places
    ]
    assert np.array_equal(described[0].keypoints, described[1].keypoints)
    assert np.quantile(np.abs(described[0].descriptors - described[1].descriptors).max(1), 0.99) < 4 * HALF


@pytest.mark.parametrize("search", ["guided", "full"])
def test_matches_of_the_same_features_are_equal(photos: list[Path], search: str) -> None:
    config = ExtractConfig(max_keypoints=4000, contrast_threshold=0.001, edge_threshold=0.0)
    features = extract_together(photos, config, load_descriptor(device="cpu"))
    on_cpu, on_gpu = (
        match_features(*features, MatchConfig(search=search), device)  # type: ignore[arg-type]
        for device in ("cpu", "cuda")
    )
    assert len(on_cpu) > 100
    assert np.array_equal(on_cpu.indices, on_gpu.indices) and np.array_equal(on_cpu.scores, on_gpu.scores)


def test_the_self_test_of_doctor() -> None:
    assert self_test("cuda").true_share > LEAST_TRUE_SHARE


def test_the_stages_run(scene_folder: Path, tmp_path: Path) -> None:
    from desdis_match.pipeline import RunConfig, extract, match, pairs
    from desdis_match.storage.features_file import FeatureFile
    from desdis_match.storage.matches_file import MatchFile

    counts = []
    for device in ("cpu", "cuda"):
        folder, run = tmp_path / device, RunConfig(device=device, workers=1)
        folder.mkdir()
        config = ExtractConfig(max_keypoints=500)
        features = extract(scene_folder / "images", folder / "features.h5", config, run=run)
        listed = pairs(features, folder / "pairs.txt")
        with FeatureFile(features) as file:
            keypoints = file.counts()
        with MatchFile(match(features, listed, folder / "matches.h5", run=run)) as file:
            num_matches = sum(len(file.get(*pair)) for pair in file.pairs(keypoints))
        counts.append([num_matches, *keypoints.values()])
    assert counts[0] == pytest.approx(counts[1], rel=0.02)
    assert counts[0][0] > 300


TRAINING = TrainConfig(
    data=DataConfig(galleries=1, gallery_size=40),
    student=StudentConfig(width=4, dim=16, dropout=0.0),
    augment=NO_AUGMENTATION,  # whose random numbers differ by device
    optim=OptimConfig(ema=0.9, clip=1.0),
    batch=32,
    steps=8,
    validate_every=4,
    log_every=1,
    tensorboard=False,
    device="cpu",
)


@pytest.fixture(scope="module")
def data() -> tuple:
    return split(make_textures(3, WarpConfig(points=60)), 0.3)


@pytest.mark.parametrize("kind", ["adam", "sgd", "muon"])
@pytest.mark.parametrize("sees", ["augmented", "plain"])
def test_training_goes_as_on_the_cpu(tmp_path: Path, data: tuple, kind: str, sees: str) -> None:
    optim, teacher = replace(TRAINING.optim, kind=kind), TeacherConfig(("desdis-8",), sees)  # type: ignore[arg-type]
    config = replace(TRAINING, optim=optim, teacher=teacher)
    losses = []
    for device in ("cpu", "cuda"):
        folder = tmp_path / device
        loop.train(replace(config, device=device), folder, data=data, restart=True)  # type: ignore[arg-type]
        losses.append([line["loss"] for line in read_log(folder / "log.jsonl") if "loss" in line])
    on_cpu, on_gpu = losses
    assert len(on_cpu) == TRAINING.steps
    assert on_gpu[0] == pytest.approx(on_cpu[0], rel=1e-3)
    assert on_gpu == pytest.approx(on_cpu, rel=0.05)


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_resumed_run_goes_on_as_an_unbroken_one(
    tmp_path: Path, data: tuple, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    optim = replace(TRAINING.optim, kind=kind)
    config = replace(TrainConfig(), optim=optim, **{
        name: getattr(TRAINING, name)
        for name in ("data", "student", "batch", "steps", "validate_every", "log_every", "tensorboard")
    })  # fmt: skip
    config = replace(config, device="cuda", checkpoint_minutes=0.0)
    config = replace(config, augment=replace(config.augment, dominant=0.5))
    whole = loop.train(config, tmp_path / "whole", data=data)
    done = loop.Run.step

    def step(self: loop.Run) -> object:
        if self.progress.step == 4:
            raise KeyboardInterrupt
        return done(self)

    monkeypatch.setattr(loop.Run, "step", step)
    with pytest.raises(KeyboardInterrupt):
        loop.train(config, tmp_path / "broken", data=data)
    monkeypatch.undo()
    broken = loop.train(config, tmp_path / "broken", data=data)
    assert broken.steps == whole.steps
    last = [read_log(tmp_path / name / "log.jsonl")[-2]["loss"] for name in ("whole", "broken")]
    assert last[0] == pytest.approx(last[1], rel=1e-3)


def test_the_adapters_of_kornia_hloc_and_glue_factory(photos: list[Path]) -> None:
    from desdis_match.photos.images import read_gray
    from desdis_match.plugins import gluefactory, hloc
    from desdis_match.plugins.kornia import DesDisDescriptor, DesDisFeature

    gray = torch.from_numpy(read_gray(photos[0], None).pixels)[None, None]
    other = torch.from_numpy(read_gray(photos[1], None).pixels)[None, None]
    feature = DesDisFeature(300, upright=True)
    lafs, _, descriptors = feature.to("cuda")(gray.cuda())
    assert lafs.is_cuda and descriptors.is_cuda
    lengths = descriptors.norm(dim=2)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3)
    expected = feature.to("cpu")(gray)
    assert abs(lafs.shape[1] - expected[0].shape[1]) <= 3

    network = DesDisDescriptor()
    patches = torch.rand(20, 1, 32, 32)
    assert torch.allclose(network.to("cuda")(patches.cuda()).cpu(), network.to("cpu")(patches), atol=HALF)

    extractor, matcher = hloc.DesDis({"max_keypoints": 300}), hloc.DesDisMatcher({})
    found = [extractor({"image": image.cuda()}) for image in (gray, other)]
    matched = matcher({f"descriptors{i}": one["descriptors"] for i, one in enumerate(found)})
    assert matched["matches0"].is_cuda and int((matched["matches0"] >= 0).sum()) > 30

    glue = gluefactory.DesDis({"max_num_keypoints": 300})({"image": torch.cat([gray, other]).cuda()})
    assert glue["keypoints"].is_cuda and glue["descriptors"].shape[:2] == glue["keypoints"].shape[:2]
