"""Adapters against the contracts of the tools they are for; hloc, glue-factory and the like are not needed.

Where a tool loads models by its own rules, the test brings a package of that name with just those rules.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from kornia.feature import DescriptorMatcher, LAFDescriptor, LocalFeatureMatcher, laf_is_filled

from desdis_match.descriptors import load_descriptor
from desdis_match.errors import InputError
from desdis_match.extract import ExtractConfig, extract_image
from desdis_match.images import read_gray
from desdis_match.match import match_features
from desdis_match.patches import FRAME_SCALE
from desdis_match.plugins import hloc as hloc_plugin
from desdis_match.plugins.common import ORIENTATION
from desdis_match.plugins.gluefactory import DesDis as GlueFactoryDesDis
from desdis_match.plugins.kornia import KORNIA_SCALING, DesDisDescriptor, DesDisFeature
from desdis_match.plugins.opencv import DesDis_create

NUM = 300
SIZE = (400, 300)


@pytest.fixture(scope="module")
def photos(scene_folder: Path) -> list[Path]:
    return sorted((scene_folder / "images").iterdir())[:2]


@pytest.fixture(scope="module")
def features(photos: list[Path]):
    """What this package itself says of the two photos."""
    config = ExtractConfig(max_size=0, max_keypoints=NUM, orientation=ORIENTATION)
    return [extract_image(photo, config, load_descriptor()) for photo in photos]


def tensor(photo: Path) -> torch.Tensor:
    return torch.from_numpy(read_gray(photo, None).pixels)[None, None]


# Kornia ---------------------------------------------------------------------------------------------------


def test_kornia_feature_gives_our_features_in_kornia_s_form(photos, features):
    batch = torch.cat([tensor(photo) for photo in photos] + [torch.full((1, 1, *SIZE[::-1]), 0.5)])
    lafs, responses, descriptors = DesDisFeature(NUM)(batch)
    longest = max(map(len, features))
    assert lafs.shape == (3, longest, 2, 3)
    assert responses.shape == (3, longest)
    assert descriptors.shape == (3, longest, 128)
    for row, ours in enumerate(features):
        num = len(ours)
        assert laf_is_filled(lafs)[row].sum() == num
        assert np.allclose(lafs[row, :num, :, 2], ours.keypoints, atol=1e-4)
        assert np.allclose(torch.linalg.det(lafs[row, :num, :, :2]).sqrt(), ours.scales, rtol=1e-4)
        assert np.allclose(descriptors[row, :num], ours.descriptors, atol=1e-5)
    assert not laf_is_filled(lafs)[2].any()  # nothing is found in grey paper


def test_kornia_s_matcher_finds_what_ours_finds(photos, features):
    matcher = LocalFeatureMatcher(DesDisFeature(NUM), DescriptorMatcher("mnn"))
    found = matcher({"image0": tensor(photos[0]), "image1": tensor(photos[1])})
    pairs = {
        tuple(row) for row in torch.cat([found["keypoints0"], found["keypoints1"]], 1).round().int().tolist()
    }
    ours = match_features(*features, config=importlib.import_module("desdis_match.match").MatchConfig("mnn"))
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
    # Kornia samples patches a little differently; the descriptors of the same frames stay near
    assert (ours * theirs).sum(2).median() > 0.99
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


# OpenCV ---------------------------------------------------------------------------------------------------


def test_opencv_describes_the_given_keypoints_in_their_order(photos):
    image = cv2.imread(str(photos[0]))
    keypoints = cv2.SIFT_create(100).detect(image, None)
    again, rows = DesDis_create().compute(image, keypoints)
    assert again == tuple(keypoints)
    assert rows.shape == (len(keypoints), 128)
    assert rows.dtype == np.float32
    _, backwards = DesDis_create().compute(image, keypoints[::-1])
    assert np.allclose(backwards[::-1], rows, atol=1e-5)


@pytest.mark.parametrize(("turn", "degrees"), [(cv2.ROTATE_90_CLOCKWISE, 90), (cv2.ROTATE_180, 180)])
def test_opencv_angles_turn_as_the_picture_turns(photos, turn: int, degrees: int):
    """A keypoint and the same keypoint in the turned picture, its angle turned along, look the same."""
    image = cv2.imread(str(photos[0]), cv2.IMREAD_GRAYSCALE)
    keypoints = [cv2.KeyPoint(x, y, 6.0, 30.0) for x in (120.0, 200.0, 280.0) for y in (100.0, 150.0, 200.0)]
    height, width = image.shape
    move = {90: lambda x, y: (height - 1 - y, x), 180: lambda x, y: (width - 1 - x, height - 1 - y)}[degrees]
    turned = [cv2.KeyPoint(*move(*k.pt), k.size, k.angle + degrees) for k in keypoints]
    desdis = DesDis_create()
    rows = desdis.compute(image, keypoints)[1]
    turned_rows = desdis.compute(cv2.rotate(image, turn), turned)[1]
    assert (rows * turned_rows).sum(1).min() > 0.98
    mirrored = [cv2.KeyPoint(*k.pt, k.size, 60.0 - k.angle) for k in turned]  # angles in the other sense
    assert (rows * desdis.compute(cv2.rotate(image, turn), mirrored)[1]).sum(1).max() < 0.96


def test_opencv_keypoints_give_the_descriptors_they_came_with(photos, features):
    image = cv2.imread(str(photos[0]), cv2.IMREAD_GRAYSCALE)
    desdis = DesDis_create(NUM)
    keypoints, rows = desdis.detectAndCompute(image, None)
    assert np.allclose([k.pt for k in keypoints], features[0].keypoints, atol=0.01)
    assert np.allclose(rows, features[0].descriptors, atol=0.02)
    assert (rows * desdis.compute(image, keypoints)[1]).sum(1).min() > 0.999


def test_opencv_descriptors_match_with_bfmatcher(photos):
    desdis = DesDis_create(NUM)
    (points0, rows0), (points1, rows1) = (desdis.detectAndCompute(cv2.imread(str(photo))) for photo in photos)
    matches = cv2.BFMatcher(desdis.defaultNorm(), crossCheck=True).match(rows0, rows1)
    source, target = (
        np.float32([points[getattr(m, side)].pt for m in matches])
        for points, side in ((points0, "queryIdx"), (points1, "trainIdx"))
    )
    _, inliers = cv2.findFundamentalMat(source, target, cv2.FM_RANSAC, 1.0, 0.999)
    assert inliers.sum() > 0.4 * len(matches) > 30
    assert (desdis.descriptorSize(), desdis.descriptorType()) == (rows0.shape[1], cv2.CV_32F)


def test_opencv_masks_kinds_of_pictures_and_bad_input(photos):
    gray = cv2.imread(str(photos[0]), cv2.IMREAD_GRAYSCALE)
    desdis = DesDis_create(100)
    mask = np.zeros_like(gray)
    mask[:, 200:] = 255
    assert min(k.pt[0] for k in desdis.detect(gray, mask)) >= 199.5
    points = [cv2.KeyPoint(150, 150, 8, 0)]
    expected = desdis.compute(gray, points)[1]
    for same in (
        gray.astype(np.uint16) * 257,
        gray.astype(np.float32) / 255,
        gray[..., None],
        cv2.merge([gray] * 3),
    ):
        assert np.allclose(desdis.compute(same, points)[1], expected, atol=1e-3)
    assert desdis.compute(gray, [])[1].shape == (0, 128)
    assert desdis.detectAndCompute(np.full_like(gray, 90))[1].shape == (0, 128)
    with pytest.raises(InputError, match="size 0"):
        desdis.compute(gray, [cv2.KeyPoint(5, 5, 0)])
    with pytest.raises(InputError, match="an image of shape"):
        desdis.compute(np.zeros((4, 4, 4, 4), np.uint8), points)


# Tools that load models by name ---------------------------------------------------------------------------


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[dict[str, str]], None]]:
    """Make packages importable, from their modules' paths and texts, for the length of the test."""
    roots: set[str] = set()

    def install(files: dict[str, str]) -> None:
        roots.update(name.split("/")[0] for name in files)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            for folder in path.parents[: len(Path(name).parts) - 1]:
                (folder / "__init__.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path))

    yield install
    for name in [name for name in sys.modules if name.split(".")[0] in roots]:
        del sys.modules[name]


def class_named(module_path: str, base: type) -> type:
    """How hloc and deep-image-matching find a model: the one class that its module defines below `base`."""
    module = importlib.import_module(module_path)
    own = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module_path]
    own = [c for c in own if issubclass(c, base)]
    assert len(own) == 1
    return own[0]


HLOC_BASE = """
from abc import ABCMeta, abstractmethod
from torch import nn

class BaseModel(nn.Module, metaclass=ABCMeta):
    default_conf = {}
    required_inputs = []

    def __init__(self, conf):
        super().__init__()
        self.conf = {**self.default_conf, **conf}
        self._init(self.conf)

    def forward(self, data):
        assert all(key in data for key in self.required_inputs)
        return self._forward(data)

    @abstractmethod
    def _init(self, conf): ...

    @abstractmethod
    def _forward(self, data): ...
"""


def test_hloc_finds_both_models_by_name(photos, features, pretend):
    pretend({"hloc/utils/base_model.py": HLOC_BASE, "hloc/extractors/x.py": "", "hloc/matchers/x.py": ""})
    hloc_plugin.register()
    base = importlib.import_module("hloc.utils.base_model").BaseModel
    extractor = class_named("hloc.extractors.desdis", base)(
        {**hloc_plugin.EXTRACT["model"], "max_keypoints": NUM}
    )
    found = [extractor.eval()({"image": tensor(photo)}) for photo in photos]
    assert np.allclose(found[0]["keypoints"][0], features[0].keypoints, atol=1e-4)
    matcher = class_named("hloc.matchers.desdis", base)(hloc_plugin.MATCH["model"])
    data = {f"{key}{image}": value for image in (0, 1) for key, value in found[image].items()}
    matches0 = matcher.eval()(data)["matches0"][0].numpy()
    ours = match_features(*features)
    assert len(ours) > 50
    assert np.array_equal(np.flatnonzero(matches0 >= 0), ours.indices[:, 0])
    assert np.array_equal(matches0[matches0 >= 0], ours.indices[:, 1])


def test_hloc_extractor_gives_hloc_s_arrays(photos, features):
    found = hloc_plugin.DesDis({"max_keypoints": NUM})({"image": tensor(photos[0])})
    num = len(features[0])
    shapes = {key: tuple(value.shape) for key, value in found.items()}
    columns = {"scores": (1, num), "scales": (1, num), "oris": (1, num)}
    assert shapes == {"keypoints": (1, num, 2), "descriptors": (1, 128, num), **columns}
    assert all(value.dtype == torch.float32 for value in found.values())
    assert np.allclose(found["scales"][0] * FRAME_SCALE, features[0].scales, rtol=1e-5)
    assert np.allclose(np.deg2rad(found["oris"][0]), -features[0].angles, atol=1e-5)
    with pytest.raises(KeyError, match="image"):
        hloc_plugin.DesDis({})({})


def test_hloc_matcher_marks_the_unmatched_and_takes_empty_images():
    rows0 = torch.eye(4)[:, :3]  # descriptors are columns: e0, e1, e2
    rows1 = torch.eye(4)[:, [2, 0]]
    matcher = hloc_plugin.DesDisMatcher({"matcher": "mnn"})
    found = matcher({"descriptors0": rows0[None], "descriptors1": rows1[None]})
    # e1 is as far from both; image 1's columns have e2 and e0 as their nearest
    assert found["matches0"].tolist() == [[1, -1, 0]]
    assert found["matching_scores0"].tolist() == [[1, 0, 1]]
    empty = matcher({"descriptors0": rows0[None], "descriptors1": torch.zeros(1, 4, 0)})
    assert empty["matches0"].tolist() == [[-1, -1, -1]]
    with pytest.raises(InputError, match="matcher is 'best'"):
        hloc_plugin.DesDisMatcher({"matcher": "best"})


DIM_BASE = """
from abc import ABCMeta, abstractmethod

class ExtractorBase(metaclass=ABCMeta):
    _default_conf = {}

    def __init__(self, config):
        self.config = {"general": config.general, "extractor": {**self._default_conf, **config.extractor}}
        self._device = "cpu"

    @abstractmethod
    def _extract(self, image): ...

    @abstractmethod
    def _preprocess_tensor(self, image, device): ...

    @abstractmethod
    def _frame2tensor(self, image, device): ...
"""


def test_deep_image_matching_finds_the_extractor(photos, features, pretend):
    from types import SimpleNamespace

    from desdis_match.plugins import deep_image_matching

    root = "deep_image_matching"
    config = "confs, opt_zoo = {}, {'extractors': ['sift']}"
    pretend({f"{root}/config.py": config, f"{root}/extractors/extractor_base.py": DIM_BASE})
    deep_image_matching.register()
    deep_image_matching.register()  # twice is once
    known = importlib.import_module(f"{root}.config")
    assert known.opt_zoo["extractors"] == ["sift", "desdis"]
    assert known.confs["desdis+kornia_matcher"]["extractor"]["name"] == "desdis"
    base = importlib.import_module(f"{root}.extractors.extractor_base").ExtractorBase
    extractor_class = class_named(f"{root}.extractors.desdis", base)
    extractor = extractor_class(
        SimpleNamespace(general={}, extractor={"name": "desdis", "max_keypoints": NUM})
    )
    assert extractor.grayscale
    assert extractor.as_float
    assert not extractor.features_as_half
    found = extractor._extract(255 * tensor(photos[0])[0, 0].numpy())
    num = len(features[0])
    assert {key: value.shape for key, value in found.items()} == {
        "keypoints": (num, 2),
        "descriptors": (extractor.descriptor_size, num),
        "scores": (num,),
    }
    assert all(isinstance(value, np.ndarray) for value in found.values())
    assert np.allclose(found["keypoints"], features[0].keypoints, atol=1e-3)


GLUEFACTORY_BASE = """
from abc import ABCMeta, abstractmethod
from torch import nn

class Conf(dict):
    __getattr__ = dict.__getitem__

class BaseModel(nn.Module, metaclass=ABCMeta):
    default_conf = {}
    required_data_keys = []

    def __init__(self, conf):
        super().__init__()
        self.conf = Conf({**self.default_conf, **conf})
        self._init(self.conf)

    def forward(self, data):
        assert all(key in data for key in self.required_data_keys)
        return self._forward(data)

    @abstractmethod
    def _init(self, conf): ...

    @abstractmethod
    def _forward(self, data): ...

    @abstractmethod
    def loss(self, pred, data): ...
"""


def test_gluefactory_finds_the_model_by_import_path(photos, pretend, monkeypatch):
    pretend({"gluefactory/models/base_model.py": GLUEFACTORY_BASE})
    name = "desdis_match.plugins.gluefactory"
    monkeypatch.delitem(sys.modules, name)  # as in a process that has glue-factory
    base = importlib.import_module("gluefactory.models.base_model").BaseModel
    model = class_named(name, base)({"max_num_keypoints": 10})
    assert model({"image": tensor(photos[0])})["keypoints"].shape == (1, 10, 2)


def test_gluefactory_model_gives_gluefactory_s_tensors(photos, features):
    batch = torch.cat([tensor(photo) for photo in photos])
    found = GlueFactoryDesDis({"max_num_keypoints": NUM, "force_num_keypoints": True})({"image": batch})
    columns = {"keypoint_scores": (2, NUM), "scales": (2, NUM), "oris": (2, NUM)}
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        "keypoints": (2, NUM, 2),
        "descriptors": (2, NUM, 128),
        **columns,
    }
    num = len(features[0])
    # glue-factory's pixels have their centres at 0.5
    assert np.allclose(found["keypoints"][0, :num], features[0].keypoints + 0.5, atol=1e-3)
    with pytest.raises(NotImplementedError, match="desdis-match train"):
        GlueFactoryDesDis({}).loss({}, {})


def test_gluefactory_padding_is_left_alone(photos):
    photo = tensor(photos[0])
    padded = torch.nn.functional.pad(photo, (0, 40, 0, 60), value=1.0)
    model = GlueFactoryDesDis({"max_num_keypoints": NUM})
    alone = model({"image": photo})
    together = model({"image": padded, "image_size": torch.tensor([SIZE])})
    assert all(torch.equal(alone[key], together[key]) for key in alone)


def test_nothing_in_the_package_imports_the_plugins():
    package = Path(inspect.getfile(load_descriptor)).parents[1]
    for path in package.rglob("*.py"):
        if path.parent.name != "plugins":
            assert "plugins" not in path.read_text(), path
