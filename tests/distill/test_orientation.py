"""Training of the orientation network: the sense of its angles, learning, and going on after a kill."""

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from desdis_match.descriptors.desdis import DesDis
from desdis_match.descriptors.weights import read_weights
from desdis_match.distill import orientation
from desdis_match.distill.orientation import (
    OrientationConfig,
    angle_agreement,
    photo_patches,
    save_orientation,
    train_orientation,
)
from desdis_match.distill.warps import WarpConfig, make_textures, texture
from desdis_match.errors import InputError
from desdis_match.patchsets.patchset import PatchSet, make_patch_set


class Centroid(nn.Module):
    """The frame's x axis, image direction (cos a, -sin a), points to the centroid of the grey values."""

    def forward(self, patches: Tensor) -> Tensor:
        place = torch.linspace(-1, 1, patches.shape[-1])
        x, y = place[None, :].expand(32, 32), place[:, None].expand(32, 32)
        disc = (x**2 + y**2 <= 1).float()
        bright = (patches[:, 0] - patches.mean((1, 2, 3))[:, None, None]) * disc
        vector = torch.stack([(bright * x).sum((1, 2)), -(bright * y).sum((1, 2))], 1)
        return nn.functional.normalize(vector, dim=1)


@pytest.fixture(scope="module")
def textures() -> PatchSet:
    return make_textures(4, WarpConfig(points=60, views=2, rotation=math.pi, error_rotation=0.0), seed=3)


def ramps() -> PatchSet:
    """A brightness ramp a point, its direction random; both patches of the point are the same."""
    rng = np.random.default_rng(0)
    place = np.linspace(-1, 1, 64)
    angle = rng.uniform(0, 2 * math.pi, 60)[:, None, None]
    values = 127 + 80 * (np.cos(angle) * place[None, None, :] + np.sin(angle) * place[None, :, None])
    patches = np.clip(values, 0, 255).astype(np.uint8).repeat(2, axis=0)
    return make_patch_set(patches, np.arange(60).repeat(2), "ramps", "generated", context=1.5)


def test_angles_have_the_sense_of_frames():
    found = angle_agreement(Centroid(), ramps(), DesDis(8).eval(), pairs=50)
    assert found.within_10 == 1.0
    assert found.distance == pytest.approx(found.aligned_distance, abs=0.05)
    assert found.random_distance > 2 * found.distance + 0.1


def test_a_few_steps_teach_something_and_an_interrupted_training_goes_on(textures, tmp_path, monkeypatch):
    monkeypatch.setattr(orientation, "CHECKPOINT_EVERY", 10)
    descriptor = DesDis(8).eval()
    config = OrientationConfig(steps=40, batch=48, width=4, descriptor_share=0.25)
    whole = train_orientation(textures, config, descriptor)
    # By chance 11 % of the pairs agree within 20 degrees.
    assert angle_agreement(whole, textures, descriptor, pairs=100).within_20 > 0.3

    checkpoint = tmp_path / "state.checkpoint"

    class Killed(Exception):
        pass

    steps = iter(range(100))

    def dies(*args):
        if next(steps) == 25:
            raise Killed
        return draw(*args)

    draw = orientation.draw_pairs
    with monkeypatch.context() as patch:
        patch.setattr(orientation, "draw_pairs", dies)
        with pytest.raises(Killed):
            train_orientation(textures, config, descriptor, checkpoint)
    resumed = train_orientation(textures, config, descriptor, checkpoint)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_weights_keep_what_they_were_made_from(textures, tmp_path):
    path = tmp_path / "orientation.safetensors"
    save_orientation(path, DesDis(4, dim=2), textures, OrientationConfig(steps=7), {"teacher": "none"})
    network, header = read_weights(path)
    assert (network.width, network.dim) == (4, 2)
    assert header["data"] == ["textures:4"]
    assert header["training"]["steps"] == 7
    assert header["teacher"] == "none"


def test_patches_of_photos_lie_on_keypoints_and_are_aligned(tmp_path):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), texture(np.random.default_rng(number), 320))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = photo_patches(tmp_path, points=60)
    assert found.num_points > 20
    assert found.patches.shape[1:] == (64, 64)
    # Aligned patches of a point resemble each other more than those of different points.
    starts = found.order[found.spans[:, 0]], found.order[found.spans[:, 0] + 1]
    flat = [found.patches[rows].reshape(len(rows), -1).astype(float) for rows in starts]
    same = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(*flat, strict=True)])
    other = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(flat[0], np.roll(flat[1], 1, 0), strict=True)])
    assert np.median(same) > 0.6 > 0.4 > np.median(np.abs(other))


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(InputError, match="gave no patches"):
        photo_patches(tmp_path)
