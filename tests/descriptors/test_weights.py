"""The weights in the package are what their model cards say."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from desdis_match.descriptors import DEFAULT_DESCRIPTOR, load_descriptor, read_weights
from desdis_match.descriptors.desdis import DesDis
from desdis_match.descriptors.registry import NAMES, packaged_folder
from desdis_match.descriptors.weights import save_weights
from desdis_match.errors import InputError
from desdis_match.evaluate.contenders import CompareConfig
from desdis_match.evaluate.planes.homographies import HomographyConfig, evaluate_homographies
from desdis_match.features.detectors import DetectorConfig

CARDS = sorted((Path(__file__).parents[2] / "training" / "cards").glob("*.md"))
FILES = sorted(packaged_folder().glob("desdis-*.safetensors"))


def head(card: Path) -> dict[str, str]:
    """The lines `name: value` between the card's two lines of dashes."""
    lines = card.read_text(encoding="utf-8").split("---\n")[1].splitlines()
    return dict(line.split(": ", 1) for line in lines)


def test_every_file_has_a_card_and_every_card_a_file():
    assert FILES
    assert [path.stem for path in FILES] == [card.stem for card in CARDS]
    assert all(path.stem in NAMES for path in FILES)
    assert sum(path.stat().st_size for path in packaged_folder().iterdir()) < 8e6


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_the_file_is_the_card_s(card: Path):
    path = packaged_folder() / f"{card.stem}.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == head(card)["sha256"]
    _, header = read_weights(path)
    kind, width = ("desdis-fast", 16) if card.stem == "desdis-fast" else ("desdis", int(card.stem[7:]))
    assert (header["architecture"]["kind"], header["architecture"]["width"]) == (kind, width)
    assert len(header["data"]) > 1 and header["licence_of_data"] and header["teacher"]
    text = card.read_text(encoding="utf-8")
    assert all(source.rpartition(":")[2] in text for source in header["data"])
    for name in ("oxford", "hpatches", "strecha", "fountain", "entry"):
        assert not any(name in source.lower() for source in header["data"])


def test_stored_results_are_of_the_shipped_weights():
    results = Path(__file__).parents[2] / "eval" / "results"
    stored = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in results.glob("*.json")}
    shipped = {path.stem: load_descriptor(path.stem).fingerprint for path in FILES}
    found = [
        (name, label, fingerprint)
        for name, content in stored.items()
        if isinstance(content, dict)
        for label, fingerprint in content.get("weights", {}).items()
        if label in shipped
    ]
    assert len(found) >= 5 * len(FILES)
    for name, label, fingerprint in found:
        assert fingerprint == shipped[label], f"{name}: other weights of {label}"


def test_a_flipped_bit_of_a_weight_is_noticed(tmp_path: Path):
    path = tmp_path / "small.safetensors"
    save_weights(path, DesDis(width=4, dim=16).eval(), {"steps": 3})
    assert read_weights(path)[1]["steps"] == 3
    content = bytearray(path.read_bytes())
    content[-4] ^= 1  # the lowest bit of the last weight: a number as good as the one before
    path.write_bytes(content)
    with pytest.raises(InputError, match="other weights than were written"):
        read_weights(path)


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_they_load_without_a_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DESDIS_MATCH_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("went to the network"))
    described = load_descriptor(name)(torch.rand(5, 1, 32, 32))
    assert described.shape == (5, 128)
    torch.testing.assert_close(described.norm(dim=1), torch.ones(5))
    assert not (tmp_path / "empty").exists()


def test_the_default_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DESDIS_MATCH_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("went to the network"))
    describe = load_descriptor()
    assert describe.name == DEFAULT_DESCRIPTOR
    assert describe(torch.rand(2, 1, 32, 32)).shape == (2, describe.dim)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_ap_is_the_card_s(card: Path, shared_data: Path):
    stated = head(card)
    data_set, sequence = stated["sequence"].split("/")
    config = HomographyConfig(
        (shared_data / "homographies" / data_set,),
        only=(sequence,),
        detection=DetectorConfig(max_keypoints=2048, orientation="dominant", ranking="contrast"),
        run=CompareConfig(descriptors=(card.stem,), no_cache=True),
    )
    found = evaluate_homographies(config).content["summary"][data_set][card.stem]["AP"]
    assert found == pytest.approx(float(stated["ap"]), abs=0.005)
