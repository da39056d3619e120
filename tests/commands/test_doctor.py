"""The doctor: tells what is there, and fails when a match does not come out right."""

import json
from types import SimpleNamespace

import pytest
import torch

from desdis_match.commands import doctor
from desdis_match.descriptors import DEFAULT_DESCRIPTOR, registry
from desdis_match.descriptors.registry import DOWNLOADS


def test_report_for_people(capsys):
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert "Versions" in out and "Devices" in out and "Weights" in out
    assert "passed in" in out
    assert "\x1b[" not in out  # no colours: this is no terminal


def test_report_for_machines(capsys):
    assert doctor.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["self_test"]["passed"] is True
    assert report["self_test"]["true_share"] > 0.9
    assert report["versions"]["desdis-match"] and "cpu" in report["devices"]


def test_weights_in_the_cache_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("DESDIS_MATCH_CACHE", str(tmp_path))
    monkeypatch.setattr(registry, "packaged_folder", lambda: tmp_path / "none")
    assert "install the package again" in doctor.find_weights()["desdis-8"]
    assert doctor.find_weights()["authors-desdis-8"].startswith("downloaded at first use")
    file = tmp_path / DOWNLOADS["authors-desdis-8"].file_name
    file.touch()
    assert doctor.find_weights()["authors-desdis-8"].startswith(str(file))
    assert doctor.find_weights()[DEFAULT_DESCRIPTOR].endswith("(default)")


def test_only_the_gpu_that_is_taken_is_marked(monkeypatch):
    cards = [SimpleNamespace(name=name, total_memory=2**30) for name in ("first", "second")]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: cards[i])
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    found = doctor.find_devices()
    assert (found["cuda:0"], found["cuda:1"]) == ("first, 1.0 GiB", "second, 1.0 GiB (auto)")
    assert "(auto)" not in found["cpu"]


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr(doctor, "installed_version", lambda name: None)
    assert doctor.find_versions()["plotly"] == "not installed (pip install 'desdis-match[notebooks]')"
    assert doctor.find_versions()["torch"] == "not installed (pip install torch)"


@pytest.mark.parametrize("change", [{"matches": 5}, {"true_share": 0.5}, {"engines_differ": 0.01}])
def test_a_bad_result_fails(change, monkeypatch, capsys):
    good = {"keypoints": 900, "matches": 200, "true_share": 0.95, "engines_differ": 1e-7, "seconds": 1.0}
    assert doctor.SelfTest(**good).passed
    monkeypatch.setattr(doctor, "self_test", lambda device: doctor.SelfTest(**{**good, **change}))
    assert doctor.main([]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_square_brackets_are_printed(capsys):
    doctor.print_tables({"versions": {"plotly": "not installed (pip install 'desdis-match[notebooks]')"}})
    assert "'desdis-match[notebooks]'" in capsys.readouterr().out


def test_a_runs_folder_keeps_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos [1]-model").mkdir()
    doctor.main(["photos [1]-model"])
    assert capsys.readouterr().out.startswith("photos [1]-model\n")
