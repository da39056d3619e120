"""hloc, deep-image-matching and glue-factory, which load models by rules of their own; none is needed here.

The test brings a package of the tool's name with just those rules.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from photo import NUM, SIZE, tensor

from desdis_match.conventions import FRAME_SCALE
from desdis_match.descriptors import load_descriptor
from desdis_match.errors import InputError
from desdis_match.matching.match import MatchConfig, match_features
from desdis_match.plugins import hloc as hloc_plugin
from desdis_match.plugins.gluefactory import DesDis as GlueFactoryDesDis


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
    ours = match_features(*features, MatchConfig(search="full", filter="none"))
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
    with pytest.raises(InputError, match="there is no 'best' among matchers"):
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


def test_gluefactory_s_configuration_in_docs_is_of_options_that_there_are(photos):
    """An option that the model does not have would pass in silence."""
    yaml = pytest.importorskip("yaml")
    path = Path(__file__).parents[2] / "docs" / "gluefactory-desdis.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    extractor = {
        **content["model"]["extractor"],
        **content["benchmarks"]["hpatches"]["model"]["extractor"],
    }
    model = importlib.import_module(extractor.pop("name")).DesDis
    assert extractor.keys() <= model.default_conf.keys()
    found = model({**extractor, "max_num_keypoints": NUM})({"image": tensor(photos[0])})
    assert 0 < found["keypoints"].shape[1] <= NUM
    assert content["model"]["matcher"]["ratio_thresh"] == MatchConfig.ratio


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
            assert ".plugins" not in path.read_text(), path
