"""Descriptors by name and file: where weights are looked for, and what is said when they are not there."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kornia.feature
import pytest
import torch
from torch import nn

from desdis_match.descriptors import (
    DesDis,
    load_descriptor,
    load_network,
    read_weights,
    registry,
    save_weights,
)
from desdis_match.descriptors.architectures import build_network
from desdis_match.descriptors.registry import DOWNLOADS, Download
from desdis_match.descriptors.weights import weights_fingerprint
from desdis_match.errors import InputError
from desdis_match.support.download import cache_folder, download


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A web server on this machine: the folder it shows, and its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a cache and a package without weights; the cache's folder-to-be."""
    monkeypatch.setenv("DESDIS_MATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "packaged_folder", lambda: tmp_path / "package")
    return tmp_path / "cache"


def published(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> DesDis:
    """Put a checkpoint in the authors' form on the site, as authors-desdis-8."""
    folder, address = site
    network = DesDis(8).eval()
    torch.save(network.state_dict(), folder / "DesDis-8.pth")
    sha256 = hashlib.sha256((folder / "DesDis-8.pth").read_bytes()).hexdigest()
    monkeypatch.setitem(DOWNLOADS, "authors-desdis-8", Download(f"{address}/DesDis-8.pth", sha256))
    return network


def test_weights_are_downloaded_once_into_the_cache(site, bare: Path, monkeypatch: pytest.MonkeyPatch):
    network = published(site, monkeypatch)
    patches = torch.rand(3, 1, 32, 32)
    assert torch.allclose(load_descriptor("authors-desdis-8")(patches), network(patches), atol=1e-5)
    assert [path.name for path in bare.iterdir()] == ["DesDis-8.pth"]
    (site[0] / "DesDis-8.pth").unlink()  # from now on the site has it no more
    assert load_descriptor("authors-desdis-8").fingerprint == weights_fingerprint(network)


def test_our_weights_and_the_authors_have_names_of_their_own(site, bare: Path, monkeypatch):
    authors = published(site, monkeypatch)
    ours = DesDis(8, dim=64)
    save_weights(bare.parent / "package" / "desdis-8.safetensors", ours, {})
    assert load_descriptor("desdis-8").fingerprint == weights_fingerprint(ours)
    assert not bare.exists()
    assert load_descriptor("authors-desdis-8").fingerprint == weights_fingerprint(authors)
    with pytest.raises(InputError, match=r"there is no weight file .*desdis-16\.safetensors"):
        load_descriptor("desdis-16")


def test_without_a_network_the_file_and_its_place_are_named(bare: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(
        DOWNLOADS, "authors-desdis-8", Download("http://127.0.0.1:9/w/DesDis-8.pth", "0" * 64)
    )
    with pytest.raises(InputError) as error:
        load_descriptor("authors-desdis-8")
    assert "http://127.0.0.1:9/w/DesDis-8.pth" in str(error.value)
    assert str(bare / "DesDis-8.pth") in str(error.value)


def test_other_bytes_than_the_published_ones_are_refused(site, bare: Path, monkeypatch: pytest.MonkeyPatch):
    published(site, monkeypatch)
    (site[0] / "DesDis-8.pth").write_bytes(b"<html>come back later</html>")
    with pytest.raises(InputError, match=r"is not the published DesDis-8\.pth"):
        load_descriptor("authors-desdis-8")
    assert not list(bare.parent.glob("cache/*"))
    bare.mkdir(exist_ok=True)
    (bare / "DesDis-8.pth").write_bytes(b"half of i")
    with pytest.raises(InputError, match="delete it and run again"):
        load_descriptor("authors-desdis-8")


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "w.pth").write_bytes(b"abc")
    sha256 = hashlib.sha256(b"abc").hexdigest()

    def full_disk(partial: Path, target: Path) -> None:
        assert partial.read_bytes() == b"abc"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("desdis_match.support.download.os.replace", full_disk)
    with pytest.raises(InputError, match="No space left"):
        download((tmp_path / "w.pth").as_uri(), tmp_path / "cache" / "w.pth", sha256)
    assert not list((tmp_path / "cache").iterdir())


def test_the_published_addresses_are_whole(shared_data: Path):
    for name, source in DOWNLOADS.items():
        copy = shared_data / "weights" / "desdis" / source.file_name
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == source.sha256, name
        assert source.url.startswith("https://raw.githubusercontent.com/liuyuzhenn/DesDis/")


def test_the_cache_has_a_place_on_every_system(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DESDIS_MATCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == Path("/some/cache/desdis_match")
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "desdis_match"


def test_kornia_s_weights_without_a_network(monkeypatch: pytest.MonkeyPatch):
    def offline(*arguments: object, **options: object) -> None:
        raise RuntimeError("no way out")

    monkeypatch.setattr("kornia.feature.hardnet.load_state_dict_from_url", offline)
    with pytest.raises(
        InputError, match=r"fetch https://\S+checkpoint_liberty_with_aug\.pth elsewhere"
    ) as error:
        load_descriptor("hardnet")
    assert str(Path(torch.hub.get_dir()) / "checkpoints" / "checkpoint_liberty_with_aug.pth") in str(
        error.value
    )


def test_saved_weights_come_back_with_what_is_known_of_them(tmp_path: Path):
    network = DesDis(16, dim=64, dropout=0.2)
    save_weights(tmp_path / "mine.safetensors", network, {"data": ["a", "b"], "steps": 7, "licence": "MIT"})
    again, metadata = read_weights(tmp_path / "mine.safetensors")
    assert metadata == {
        "architecture": {"kind": "desdis", "width": 16, "dim": 64, "dropout": 0.2},
        "data": ["a", "b"],
        "steps": 7,
        "licence": "MIT",
    }
    assert weights_fingerprint(again) == weights_fingerprint(network)
    assert not again.training
    describe = load_descriptor(tmp_path / "mine.safetensors")
    assert (describe.name, describe.dim, describe.fingerprint) == ("mine", 64, weights_fingerprint(network))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_a_fingerprint_follows_the_weights_and_not_the_file(tmp_path: Path):
    network = DesDis(8)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    save_weights(tmp_path / "b.safetensors", network, {})
    prints = {load_descriptor(tmp_path / name).fingerprint for name in ("a.pth", "b.safetensors")}
    assert prints == {weights_fingerprint(network)}
    with torch.no_grad():
        network.desc[1].bias[0] += 1e-3  # type: ignore[index,union-attr]
    assert weights_fingerprint(network) not in prints


@pytest.mark.parametrize("kind", ["hardnet", "sosnet", "hynet", "tfeat", "hardtfeat"])
def test_teachers_survive_saving_and_are_told_by_their_names(kind: str, tmp_path: Path):
    network = build_network({"kind": kind})
    save_weights(tmp_path / "t.safetensors", network, {})
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, tmp_path / "t.pth")
    for name in ("t.safetensors", "t.pth"):
        again = load_network(tmp_path / name)
        assert type(again) is type(network)
        assert weights_fingerprint(again) == weights_fingerprint(network)


def test_published_teachers_load_by_path(shared_data: Path):
    weights = shared_data / "weights"
    patches = torch.rand(2, 1, 32, 32)
    tfeat = load_descriptor(weights / "tfeat" / "tfeat-liberty.params")
    assert isinstance(tfeat.network, kornia.feature.TFeat)
    assert torch.allclose(tfeat(patches), nn.functional.normalize(tfeat.network(patches), dim=1), atol=1e-4)
    assert type(load_network(weights / "affnet" / "HardTFeat.pth")).__name__ == "HardTFeat"
    with pytest.raises(InputError, match=r"AffNet\.pth.*none of the known descriptors"):
        load_network(weights / "affnet" / "AffNet.pth")


class Mean(nn.Module):
    """A descriptor of one's own: the four quarters' means."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(patches, 2).flatten(1)


def test_any_module_by_import_path():
    describe = load_descriptor(f"{__name__}:Mean")
    patches = torch.zeros(1, 1, 32, 32)
    patches[..., :16, :16] = 0.5  # one bright quarter
    assert describe.dim == 4
    assert describe(patches).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    for path in ("nowhere_at_all:x", f"{__name__}:Missing", f"{__name__}:published", "torch:float32"):
        with pytest.raises(InputError, match=path.replace(".", r"\.")):
            load_descriptor(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("desdis-9", None, "unknown descriptor 'desdis-9'; take one of rootsift, desdis-8"),
        ("gone.pth", None, "there is no weight file"),
        ("gone.safetensors", None, "there is no weight file"),
        ("bad.pth", b"not a checkpoint", "not a readable torch checkpoint"),
        ("empty.pth", b"", "not a readable torch checkpoint"),
        ("bad.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "not a readable safetensors file"),
        ("empty.safetensors", b"", "not a readable safetensors file"),
    ],
)
def test_bad_names_and_files_are_one_sentence(tmp_path: Path, name: str, content: bytes | None, message: str):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_descriptor(path if "." in name else name)


def test_files_of_something_else_are_refused(tmp_path: Path):
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: these weights belong to none.*as module:Class"):
        load_descriptor(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no table of weights"):
        load_descriptor(tmp_path / "list.pth")
    state = DesDis(8).state_dict()
    del state["desc.1.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(InputError, match="do not fit the architecture"):
        load_descriptor(tmp_path / "short.pth")
    save_weights(tmp_path / "whole.safetensors", DesDis(8), {})
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_descriptor(tmp_path / "cut.safetensors")
    newer = content.replace(b'\\"kind\\": \\"desdis\\"', b'\\"kind\\": \\"desd99\\"')
    assert newer != content
    (tmp_path / "newer.safetensors").write_bytes(newer)
    with pytest.raises(InputError, match="unknown descriptor architecture 'desd99'"):
        load_descriptor(tmp_path / "newer.safetensors")


def test_weights_that_cannot_be_written_leave_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"w\.safetensors cannot be written"):
        save_weights(tmp_path / "file" / "w.safetensors", DesDis(8), {})
