"""`desdis-match merge A B`."""

from pathlib import Path

import pytest
from pointcloud import make_point_cloud
from pointcloud_models import make_job, without

from desdis_match.colmap.mappers import map_incremental
from desdis_match.colmap.mapping import read_model
from desdis_match.commands.cli import main


def test_two_halves_become_one_and_what_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=8)
    (whole,) = map_incremental(make_job(cloud, tmp_path))
    halves = {"a": without(whole, cloud.names[5:]), "b": without(whole, cloud.names[:4])}
    halves["c"] = without(whole, cloud.names[:6])
    for name, model in halves.items():
        (tmp_path / name).mkdir()
        model.write_binary(tmp_path / name)
    a, b, c, out = (str(tmp_path / name) for name in ("a", "b", "c", "out"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))  # the output's disk is the one with room
    assert main(["merge", a, b, "--output", out]) == 0
    assert "8 photos (of 5 + 4), 300 points" in capsys.readouterr().out
    assert read_model(tmp_path / "out").num_reg_images() == 8
    assert main(["merge", a, b, "--output", out]) == 2
    assert main(["merge", a, c, "--output", out, "--overwrite"]) == 2
    assert "share 0 photos" in capsys.readouterr().err
    assert main(["merge", a, "--output", str(tmp_path / "new")]) == 2
    for name, kept in (("run", "features.h5"), ("photos", "a.jpg")):
        (tmp_path / name).mkdir()
        (tmp_path / name / kept).write_text("mine")
        assert main(["merge", a, b, "--output", str(tmp_path / name), "--overwrite"]) == 2
        assert f"holds {kept}, which is no part of a model" in capsys.readouterr().err
        assert (tmp_path / name / kept).read_text() == "mine"
    assert main(["merge", a, b, "--output", a, "--overwrite"]) == 2
    assert "is one of the models" in capsys.readouterr().err
    assert main(["merge", a, b, "--output", out, "--overwrite"]) == 0
