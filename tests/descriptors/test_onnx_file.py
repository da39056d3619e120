"""Descriptors as ONNX files: what the command writes, against torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from desdis_match.commands import cli
from desdis_match.descriptors import DesDis, load_network, save_weights
from desdis_match.descriptors.onnx_file import ExportOnnxConfig, export_onnx
from desdis_match.descriptors.weights import weights_fingerprint
from desdis_match.errors import InputError

PIPELINE = Path(__file__).parents[2] / "pipelines" / "describe_onnx.py"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(tmp_path / "small.safetensors", DesDis(8, dim=64), {})
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("flags", [[], ["--fast-cpu"]], ids=["plain", "fast"])
def test_the_file_gives_what_torch_gives_for_any_number(weights: Path, flags: list[str], capsys):
    output = weights.with_suffix(".onnx")
    assert cli.main(["export-onnx", "--descriptor", str(weights), "--output", str(output), *flags]) == 0
    assert str(output) in capsys.readouterr().out
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    network = load_network(weights)
    for num in (0, 1, 7):
        patches = torch.rand(num, 1, 32, 32)
        (rows,) = session.run(["descriptors"], {"patches": patches.numpy()})
        assert rows.shape == (num, 64)
        with torch.no_grad():
            assert np.abs(rows - network(patches).numpy()).max(initial=0) < 1e-4
    model = onnx.load(output)
    onnx.checker.check_model(model, full_check=True)
    about = json.loads(next(item.value for item in model.metadata_props if item.key == "desdis_match"))
    assert about == {
        "descriptor": "small.safetensors",
        "dim": 64,
        "fingerprint": weights_fingerprint(network),
    }
    operators = {node.op_type for node in model.graph.node}
    assert ("MatMul" in operators) == bool(flags)  # the plain file is the network's own convolutions


def test_what_has_no_onnx_form_or_no_place_is_one_sentence(weights: Path):
    with pytest.raises(InputError, match="'rootsift' cannot be written as ONNX"):
        export_onnx(ExportOnnxConfig(weights.with_suffix(".onnx"), "rootsift"))
    with pytest.raises(InputError, match="cannot be written"):
        export_onnx(ExportOnnxConfig(weights / "below_a_file.onnx", str(weights)))
    assert sorted(path.name for path in weights.parent.iterdir()) == ["small.safetensors"]


def test_a_file_that_differs_from_torch_is_not_written(weights: Path, monkeypatch: pytest.MonkeyPatch):
    from desdis_match.descriptors import onnx_file as module

    real = module.to_onnx

    def damaged(layers, dim, fast):
        layers[1].weight.data[0] += 0.1
        return real(layers, dim, fast)

    monkeypatch.setattr(module, "to_onnx", damaged)
    with pytest.raises(InputError, match="no file was written"):
        export_onnx(ExportOnnxConfig(weights.with_suffix(".onnx"), str(weights)))
    assert not weights.with_suffix(".onnx").exists()


def test_the_example_runs_on_onnxruntime_alone(weights: Path):
    output = weights.with_suffix(".onnx")
    export_onnx(ExportOnnxConfig(output, str(weights)))
    check = "assert not {'torch', 'onnx', 'desdis_match'} & set(sys.modules), 'more than onnxruntime'"
    script = (
        f"import runpy, sys; sys.argv = {[str(PIPELINE), str(output)]}; runpy.run_path(sys.argv[0]); {check}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "of 200 patches found their partner" in done.stdout
    assert int(done.stdout.split()[0]) > 150


@pytest.mark.parametrize("channels", [(), (1,)])
def test_the_example_describes_a_file_of_patches(weights: Path, tmp_path: Path, channels):
    output = weights.with_suffix(".onnx")
    export_onnx(ExportOnnxConfig(output, str(weights)))
    patches = np.random.default_rng(0).integers(0, 256, (5, 32, 32), np.uint8)
    np.save(tmp_path / "patches.npy", patches.reshape(5, *channels, 32, 32))
    subprocess.run(
        [sys.executable, str(PIPELINE), str(output), str(tmp_path / "patches.npy")], check=True, timeout=60
    )
    with torch.no_grad():
        expected = load_network(weights)(torch.from_numpy(patches)[:, None] / 255).numpy()
    assert np.abs(np.load(tmp_path / "patches.descriptors.npy") - expected).max() < 1e-4


def test_the_example_says_what_are_no_patches(weights: Path, tmp_path: Path):
    output = weights.with_suffix(".onnx")
    export_onnx(ExportOnnxConfig(output, str(weights)))
    np.save(tmp_path / "patches.npy", np.zeros((5, 3, 32, 32), np.float32))
    command = [sys.executable, str(PIPELINE), str(output), str(tmp_path / "patches.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "error: patches have shape (5, 3, 32, 32); give (N, 32, 32) or (N, 1, 32, 32)\n"


OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 8, 4), nn.GELU(), nn.Flatten(), nn.Linear(196, 24))

    def forward(self, patches):
        return self.layers(patches)


class Odd(Net):
    def forward(self, patches):
        return self.layers(patches) + torch.linalg.eigvals(patches).real.sum()
"""


def test_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """module:Class of the current folder: by torch's exporter, unit vectors out; else one sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_net_for_onnx.py").write_text(OWN)
    assert export_onnx(ExportOnnxConfig(tmp_path / "own.onnx", "own_net_for_onnx:Net")) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx", providers=["CPUExecutionProvider"])
    patches = np.random.default_rng(0).random((5, 1, 32, 32), np.float32)
    rows = session.run(None, {"patches": patches})[0]
    with torch.no_grad():
        network = load_network("own_net_for_onnx:Net")
        expected = torch.nn.functional.normalize(network(torch.from_numpy(patches)), dim=1).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    with pytest.raises(InputError, match=r"'own_net_for_onnx:Odd' cannot be written as ONNX: .*eigvals"):
        export_onnx(ExportOnnxConfig(tmp_path / "odd.onnx", "own_net_for_onnx:Odd"))
    assert not (tmp_path / "odd.onnx").exists()
