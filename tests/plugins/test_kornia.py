"""Kornia: our keypoints, frames and descriptors as its modules, compiled and trained."""

import copy
import pickle
from pathlib import Path

import kornia
import kornia.feature
import numpy as np
import pytest
import torch
from kornia.feature import DescriptorMatcher, LAFDescriptor, LocalFeatureMatcher
from photo import NUM, SIZE, tensor

from desdis_match.conventions import FRAME_SCALE
from desdis_match.matching.match import MatchConfig, match_features
from desdis_match.plugins.kornia import KORNIA_SCALING, DesDisDescriptor, DesDisFeature

# Kornia 0.8.1 has no such function.
is_filled = getattr(kornia.feature, "laf_is_filled", lambda lafs: lafs.flatten(2).any(2))


def test_kornia_feature_gives_our_features_in_kornia_s_form(photos, features):
    batch = torch.cat([tensor(photo) for photo in photos] + [torch.full((1, 1, *SIZE[::-1]), 0.5)])
    lafs, responses, descriptors = DesDisFeature(NUM)(batch)
    longest = max(map(len, features))
    assert lafs.shape == (3, longest, 2, 3)
    assert responses.shape == (3, longest)
    assert descriptors.shape == (3, longest, 128)
    for row, ours in enumerate(features):
        num = len(ours)
        assert is_filled(lafs)[row].sum() == num
        assert np.allclose(lafs[row, :num, :, 2], ours.keypoints, atol=1e-4)
        assert np.allclose(torch.linalg.det(lafs[row, :num, :, :2]).sqrt(), ours.scales, rtol=1e-4)
        assert np.allclose(descriptors[row, :num], ours.descriptors, atol=1e-5)
    assert not is_filled(lafs)[2].any()  # nothing is found in grey paper


def test_kornia_s_matcher_finds_what_ours_finds(photos, features):
    matcher = LocalFeatureMatcher(DesDisFeature(NUM), DescriptorMatcher("mnn"))
    found = matcher({"image0": tensor(photos[0]), "image1": tensor(photos[1])})
    pairs = {
        tuple(row) for row in torch.cat([found["keypoints0"], found["keypoints1"]], 1).round().int().tolist()
    }
    ours = match_features(*features, config=MatchConfig("mnn"))
    kept = [features[image].keypoints[ours.indices[:, image]] for image in (0, 1)]
    expected = {tuple(row) for row in np.rint(np.concatenate(kept, 1)).astype(int).tolist()}
    assert len(expected) > 50
    assert len(pairs & expected) > 0.98 * len(expected)


def test_kornia_mask_and_colour(photos):
    gray = tensor(photos[0])
    mask = torch.ones_like(gray)
    mask[..., :200] = 0
    lafs, _, _ = DesDisFeature(NUM, upright=True)(gray, mask)
    assert lafs.shape[1] > 20
    assert (lafs[0, :, 0, 2] >= 199.5).all()
    colour = DesDisFeature(NUM, upright=True)(gray.expand(1, 3, -1, -1), mask)
    assert torch.allclose(colour[0], lafs, atol=1e-3)
    with pytest.raises(ValueError, match="an image must be"):
        DesDisFeature(NUM)(torch.rand(1, 2, 64, 64))


def test_kornia_laf_descriptor_describes_our_frames(photos, features):
    lafs, _, ours = DesDisFeature(NUM)(tensor(photos[0]))
    theirs = LAFDescriptor(DesDisDescriptor())(tensor(photos[0]), lafs)
    # Kornia samples patches a little differently, before 0.9 a little more so (median 0.989 with 0.8.1).
    old = tuple(map(int, kornia.__version__.split(".")[:2])) < (0, 9)
    assert (ours * theirs).sum(2).median() > (0.985 if old else 0.99)
    assert KORNIA_SCALING == FRAME_SCALE / 6


@pytest.mark.parametrize("name", ["rootsift", "desdis"])
def test_kornia_descriptor_compiles_whole(name: str, tmp_path: Path):
    describe = DesDisDescriptor(student(tmp_path) if name == "desdis" else name)
    patches = torch.rand(5, 1, 32, 32)
    compiled = torch.compile(describe, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(patches), describe(patches), atol=1e-6)


def test_kornia_feature_runs_inside_a_compiled_module(photos):
    feature = DesDisFeature(50)
    compiled = torch.compile(feature, backend="eager")
    assert torch.equal(compiled(tensor(photos[0]))[2], feature(tensor(photos[0]))[2])


def test_kornia_descriptor_trains(tmp_path: Path):
    describe = DesDisDescriptor(student(tmp_path))
    describe(torch.rand(4, 1, 32, 32)).square()[:, 0].sum().backward()
    assert all(weight.grad is not None for weight in describe.parameters())


def student(folder: Path) -> str:
    from desdis_match.descriptors import DesDis, save_weights

    save_weights(folder / "small.safetensors", DesDis(8, dim=64), {})
    return str(folder / "small.safetensors")


def test_what_would_go_wrong_in_silence_is_refused(photos):
    feature, gray = DesDisFeature(50, upright=True), tensor(photos[0])
    with pytest.raises(TypeError, match=r"floats in \[0, 1\], not torch.uint8; divide by 255"):
        feature((gray.expand(1, 3, -1, -1) * 255).to(torch.uint8))
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], this one goes up to 2"):
        feature(gray * 255)
    with pytest.raises(ValueError, match=r"must be \(B, 1 or 3, H, W\), not \(1, 300, 400\)"):
        feature(gray[0])
    with pytest.raises(ValueError, match=r"patches must be \(B, 1, 32, 32\), not \(4, 1, 64, 64\)"):
        DesDisDescriptor()(torch.rand(4, 1, 64, 64))
    with pytest.raises(RuntimeError, match="cannot be traced"):
        torch.jit.trace(feature, gray)


def test_copies_pickles_and_devices(photos):
    feature, gray = DesDisFeature(50, upright=True), tensor(photos[0])
    expected = feature(gray)[2]
    for again in (copy.deepcopy(feature), pickle.loads(pickle.dumps(feature))):
        assert torch.equal(again(gray)[2], expected)
    descriptor, patches = DesDisDescriptor(), torch.rand(3, 1, 32, 32)
    assert torch.equal(pickle.loads(pickle.dumps(descriptor))(patches), descriptor(patches))
    traced = torch.jit.trace(descriptor.eval(), patches)
    assert torch.allclose(traced(patches), descriptor(patches), atol=1e-6)
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError)):
            feature.to("cuda")
