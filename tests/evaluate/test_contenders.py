"""Which descriptors a comparison takes, and what it says of those that it does not."""

import numpy as np
import pytest
import torch

from desdis_match.errors import InputError
from desdis_match.evaluate.contenders import CompareConfig, load_contenders

OWN = """
import torch
from torch import nn


class Corner(nn.Module):
    def forward(self, patches):
        return patches[:, 0, :4, :4].flatten(1) + 0.5
"""


def test_a_class_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_descriptor_to_compare.py").write_text(OWN)
    own, other = load_contenders(CompareConfig(descriptors=("own_descriptor_to_compare:Corner", "rootsift")))
    assert (own.label, other.label) == ("own_descriptor_to_compare:Corner", "rootsift")
    patches = np.random.default_rng(0).random((3, 1, 32, 32), np.float32)
    rows = patches[:, 0, :4, :4].reshape(3, 16) + 0.5
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(own.describe(patches), expected, atol=1e-6)


def test_weights_that_nothing_is_known_of_are_named_with_what_is_in_them(tmp_path):
    torch.save({"layer.weight": torch.zeros(3, 3)}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth: these weights belong to none .*layer\.weight"):
        load_contenders(CompareConfig(descriptors=(str(tmp_path / "odd.pth"),)))


def test_an_onnx_file_is_answered_with_what_can_be_given(tmp_path):
    with pytest.raises(InputError, match=r"unknown descriptor .*net\.onnx.*weight file.*module:Class"):
        load_contenders(CompareConfig(descriptors=(str(tmp_path / "net.onnx"),)))
