"""What an extra brings and is not installed is one sentence with the way to have it."""

import sys

import numpy as np
import pytest
from smallmodel import make_model, turned_about_view

from desdis_match.colmap.model_files import write_model
from desdis_match.commands.cli import main
from desdis_match.distill.config import TrainConfig
from desdis_match.distill.record import Record
from desdis_match.distill.train import _fabric
from desdis_match.errors import InputError
from desdis_match.evaluate.poses.estimators import by_poselib
from desdis_match.support.executors import _import
from desdis_match.viz.models import init_figure


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("plotly.graph_objects", "notebooks", lambda folder: init_figure()),
        ("lightning_fabric", "train", lambda folder: _fabric(TrainConfig())),
        ("torch.utils.tensorboard", "train", lambda folder: Record(folder, 0, tensorboard=True)),
        ("distributed", "cluster", lambda folder: _import("distributed")),
        ("dask_jobqueue", "cluster", lambda folder: _import("dask_jobqueue")),
        ("poselib", "poselib", lambda folder: by_poselib(None, None, None, None, 1.0)),
    ],
)
def test_a_missing_extra_is_an_import_error_that_users_can_mend(tmp_path, monkeypatch, module, extra, use):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'desdis-match\[{extra}\]'$") as error:
        use(tmp_path)
    assert isinstance(error.value, InputError)


@pytest.mark.parametrize(("missing", "format"), [("laspy", "las"), ("laspy", "laz"), ("lazrs", "laz")])
def test_clouds_without_the_extra_are_no_fault_of_the_program(tmp_path, monkeypatch, capsys, missing, format):
    if missing == "lazrs":
        laspy = pytest.importorskip("laspy")
        monkeypatch.setattr(laspy.LazBackend, "detect_available", classmethod(lambda kind: ()))
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    points = np.array([[0, 0, 5.0], [1, 0, 5], [0, 1, 6]])
    (tmp_path / "model").mkdir()
    write_model(
        make_model({"a": turned_about_view(0), "b": turned_about_view(0, (1, 0, 0))}, points),
        tmp_path / "model",
    )
    where = ["--model", tmp_path / "model", "--output", tmp_path / f"cloud.{format}"]
    assert main(["export", *map(str, where), "--format", format]) == 2
    said = capsys.readouterr().err
    assert said.endswith("the extra formats: pip install 'desdis-match[formats]'\n") and "fault" not in said
