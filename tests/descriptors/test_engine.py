"""The engines against the networks themselves, and the rewritten layers against the layers they replace."""

import numpy as np
import pytest
import torch
from torch import nn

from desdis_match.descriptors import DesDis
from desdis_match.descriptors.architectures import BUILDERS, architecture_of, build_network
from desdis_match.descriptors.engine import CPU_BATCH, ONNX_BATCH, Descriptor, OnnxEngine, TorchEngine
from desdis_match.descriptors.layers import inference_layers
from desdis_match.descriptors.onnx_graph import unwritable
from desdis_match.descriptors.rewrites import CornerPaddedConv, WinogradTail, rewrite, winograd_transforms
from desdis_match.errors import InputError
from desdis_match.support.devices import pick_device

CPU = torch.device("cpu")
NETWORKS = [*({"kind": "desdis", "width": w, "dim": d} for w, d in [(8, 128), (16, 64), (24, 128), (32, 32)])]
NETWORKS += [{"kind": "desdis-fast", "width": w, "dim": d} for w, d in [(16, 128), (8, 32)]]
NETWORKS += [{"kind": kind} for kind in BUILDERS if not kind.startswith("desdis")]


@pytest.fixture(scope="module")
def patches() -> torch.Tensor:
    """Noise, smooth blobs, hardly any contrast, and flat patches: (55, 1, 32, 32)."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(13, 1, 32, 32, generator=generator)
    coarse = torch.rand(13, 1, 6, 6, generator=generator)
    smooth = nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
    flat = torch.linspace(0, 1, 16)[:, None, None, None].expand(-1, 1, 32, 32)
    return torch.cat([noise, smooth, 0.5 + 0.01 * smooth, flat])


def trained(architecture: dict) -> nn.Module:
    """A network whose BatchNorm has seen data, so that folding it has something to do."""
    torch.manual_seed(0)
    network = build_network(architecture)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return network


@pytest.mark.parametrize("architecture", NETWORKS, ids=lambda a: "-".join(map(str, a.values())))
def test_engines_agree_with_the_network(architecture: dict, patches: torch.Tensor):
    network = trained(architecture)
    if not architecture["kind"].startswith("desdis"):
        patches = patches[:-16]  # what these make of a flat patch is the rounding of its mean, magnified
    with torch.no_grad():
        rows = nn.functional.normalize(network(patches).flatten(1), dim=1)
    engines = ("torch",) if architecture["kind"] == "hynet" else ("torch", "onnxruntime")
    for engine in engines:
        describe = Descriptor(network, "x", rows.shape[1], "", CPU, engine)
        assert describe.engine == engine
        assert (describe(patches) - rows).abs().max() < 1e-4, engine
    assert architecture_of(network)["kind"] == architecture["kind"]


def test_half_precision_stays_near(patches: torch.Tensor):
    """What a GPU does, here on the CPU: float16 convolutions between float32 ends."""
    network = trained({"kind": "desdis", "width": 16})
    exact = TorchEngine(network, CPU, half=False)(patches)
    half = TorchEngine(network, CPU, half=True)(patches)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 5e-3
    assert ((half * exact).sum(1) > 0.9999).all()


class HardNet(nn.Module):
    """A network of somebody's own, of a name that Kornia has too."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 32))

    def forward(self, patches):
        return self.features(patches).abs()


class Rooted(DesDis):
    def forward(self, patches):
        return super().forward(patches).abs().sqrt()


@pytest.mark.parametrize(("kind", "dim"), [(HardNet, 4), (Rooted, 128)])
def test_a_network_of_ones_own_runs_as_it_is(kind: type[nn.Module], dim: int, patches: torch.Tensor):
    torch.manual_seed(0)
    network = kind().eval()
    with torch.no_grad():
        expected = nn.functional.normalize(network(patches).flatten(1), dim=1)
    for engine in ("auto", "torch"):
        describe = Descriptor(network, "x", dim, "", CPU, engine)
        assert (describe(patches) - expected).abs().max() < 1e-5, engine


@pytest.mark.parametrize("options", [{"dilation": 2}, {"padding_mode": "reflect"}, {"padding": "same"}])
def test_unusual_convolutions_are_not_written(options: dict):
    layer = nn.Conv2d(1, 1, 3, **{"padding": 1, **options})
    assert list(unwritable(nn.Sequential(nn.ReLU(), layer))) == [layer]
    assert not any(unwritable(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))))


def test_batches_and_threads_change_nothing(patches: torch.Tensor):
    many = patches.repeat(10, 1, 1, 1)[: 2 * max(CPU_BATCH, ONNX_BATCH) + 1]
    network = trained({"kind": "desdis", "width": 8})
    one = Descriptor(network, "x", 128, "", CPU, "onnxruntime", threads=1)
    three = Descriptor(network, "x", 128, "", CPU, "onnxruntime", threads=3)
    assert torch.equal(one(many), three(many))
    for engine in ("torch", "onnxruntime"):
        describe = Descriptor(network, "x", 128, "", CPU, engine)
        assert torch.allclose(describe(many)[:55], describe(patches), atol=1e-6)
        assert torch.allclose(describe(many)[-1:], describe(many[-1:]), atol=1e-6)
        assert describe(many[:0]).shape == (0, 128)


def test_the_same_descriptor_on_more_threads(patches: torch.Tensor):
    network = trained({"kind": "desdis", "width": 8})
    one = Descriptor(network, "x", 128, "", CPU, "onnxruntime", threads=1)
    two = one.on_threads(2)
    assert (one.run.threads, two.run.threads) == (1, 2)
    assert two.run.session is one.run.session
    many = patches.repeat(20, 1, 1, 1)
    assert torch.equal(one(many), two(many))
    on_torch = Descriptor(network, "x", 128, "", CPU, "torch")
    assert torch.equal(on_torch(patches), on_torch.on_threads(2)(patches))


def test_double_and_strided_patches_are_taken(patches: torch.Tensor):
    describe = Descriptor(trained({"kind": "desdis", "width": 8}), "x", 128, "", CPU)
    turned = patches.double().transpose(2, 3)
    assert torch.allclose(describe(turned), describe(turned.float().contiguous()), atol=1e-6)


def test_other_shapes_are_refused():
    describe = Descriptor(DesDis(8), "x", 128, "", CPU)
    for shape in [(2, 32, 32), (2, 3, 32, 32), (2, 1, 64, 64)]:
        with pytest.raises(ValueError, match="patches must be"):
            describe(torch.rand(shape))


def test_wrong_engine_and_device_are_one_sentence():
    with pytest.raises(InputError, match="unknown engine 'fast'"):
        Descriptor(DesDis(8), "x", 128, "", CPU, "fast")
    with pytest.raises(InputError, match="HyNet has layers"):
        Descriptor(build_network({"kind": "hynet"}), "x", 128, "", CPU, "onnxruntime")
    assert Descriptor(build_network({"kind": "hynet"}), "x", 128, "", CPU).engine == "torch"
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            pick_device("cuda")


def test_the_sequence_does_not_change_the_network_it_comes_from(patches: torch.Tensor):
    network = DesDis(8).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    OnnxEngine(network.eval(), 128)(patches)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_session_is_made_by_the_first_call(patches: torch.Tensor):
    engine = OnnxEngine(DesDis(8).eval(), 128)
    assert "session" not in vars(engine)
    first = engine(patches)
    assert "session" in vars(engine)
    assert torch.equal(engine(patches), first)


def test_winograd_transforms_correlate():
    gather, kernel, spread = winograd_transforms()
    signal, taps = np.array([3.0, -1, 4, 1, -5, 9]), np.array([2.0, 6, -5])
    # by hand: 2*3 - 6 - 20, -2 + 24 - 5, 8 + 6 + 25, 2 - 30 - 45
    assert np.allclose(gather @ ((kernel @ taps) * (spread @ signal)), [-20, 17, 39, -73])


@pytest.mark.parametrize("width", [8, 32])
def test_rewritten_layers_equal_the_plain_ones(width: int, patches: torch.Tensor):
    plain = inference_layers(trained({"kind": "desdis", "width": width}))
    assert plain is not None
    fast = rewrite(plain)
    kinds = {type(layer) for layer in fast}
    assert WinogradTail in kinds
    assert (CornerPaddedConv in kinds) == (width == 8)
    assert (fast(patches) - plain(patches)).abs().max() < 1e-5
