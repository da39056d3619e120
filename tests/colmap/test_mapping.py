"""From features and matches to models: the geometry is right, the seed decides, the folder is whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pointcloud import FOCAL, make_point_cloud, pose_errors
from pointcloud_models import poses, verified_database

from desdis_match.colmap.database import open_database
from desdis_match.colmap.diagnosis import starvation
from desdis_match.colmap.mappers import MAPPERS, Job, incremental_options
from desdis_match.colmap.mapping import (
    MapConfig,
    map_database,
    model_folders,
    model_summary,
    read_model,
    read_models,
    write_models,
    write_points,
)
from desdis_match.colmap.registration import extend_model
from desdis_match.errors import InputError
from desdis_match.storage.matches_file import MatchFile, write_matches


@pytest.mark.parametrize("mapper", ["incremental", "global", "hierarchical"])
def test_exact_keypoints_give_the_true_poses(tmp_path: Path, mapper: str) -> None:
    cloud = make_point_cloud(tmp_path)
    path = verified_database(cloud, tmp_path)
    config = MapConfig(mapper=mapper, fix_intrinsics=True)
    (model,) = map_database(path, None, tmp_path / "sparse", config, log_path=tmp_path / "colmap.log").models
    summary = model_summary(model)
    assert summary.num_registered == 6
    assert summary.num_points >= 290
    assert summary.mean_track_length > 5.5
    assert summary.mean_reprojection_error < 0.01
    assert model.camera(1).params.tolist() == [600, 320, 240]
    rotation, direction = pose_errors(cloud, poses(model))
    assert rotation < 0.01 and direction < 0.02
    assert pose_errors(cloud, poses(read_model(tmp_path / "sparse" / "0"))) == pytest.approx(
        (rotation, direction)
    )


def test_threads_go_to_the_mapper_and_local_adjustment_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = verified_database(make_point_cloud(tmp_path, num_cameras=3), tmp_path)
    options = []

    def mapper(job: Job) -> list[object]:
        options.append(incremental_options(job.config, job.threads))
        return []

    monkeypatch.setitem(MAPPERS, "global", mapper)
    for config in (MapConfig(mapper="global"), MapConfig(mapper="global", mapper_threads=3)):
        map_database(path, None, tmp_path / "sparse", config)
    assert [(found.num_threads, found.mapper.num_threads) for found in options] == [(1, 1), (3, 3)]
    assert 0 < options[0].mapper.ba_local_num_images <= 6
    with pytest.raises(InputError, match="mapper_threads is 0"):
        MapConfig(mapper_threads=0)


@pytest.mark.parametrize("mapper", ["incremental", "global", "hierarchical"])
def test_photos_that_colmap_cannot_read_give_colours_too(
    tmp_path: Path, mapper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the system's temporary folder, too: the output's disk is the one with room."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    cloud = make_point_cloud(tmp_path, names=[f"{i}.webp" for i in range(6)])
    path = verified_database(cloud, tmp_path)
    photo = np.full((480, 640, 3), (200, 30, 90), np.uint8)
    for name in cloud.names:
        Image.fromarray(photo).save(tmp_path / name, lossless=True)
    (model,) = map_database(
        path, tmp_path, tmp_path / "sparse", MapConfig(mapper=mapper, fix_intrinsics=True)
    ).models
    assert {tuple(point.color) for point in model.points3D.values()} == {(200, 30, 90)}
    assert all(point.color.any() for point in read_model(tmp_path / "sparse" / "0").points3D.values())


def test_a_model_that_grows_is_coloured_from_photos_that_colmap_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    cloud = make_point_cloud(tmp_path, names=[f"{i}.webp" for i in range(6)])
    path = verified_database(cloud, tmp_path)
    config = MapConfig(fix_intrinsics=True)
    (model,) = map_database(path, None, tmp_path / "sparse", config).models
    last = next(image for image in model.images.values() if image.name == "5.webp")
    model.deregister_frame(last.frame_id)
    Image.fromarray(np.full((480, 640, 3), (200, 30, 90), np.uint8)).save(tmp_path / "5.webp", lossless=True)
    grown = extend_model(path, tmp_path, model, config)
    assert grown.num_reg_images() == 6
    assert {tuple(point.color) for point in grown.points3D.values()} == {(200, 30, 90)}


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_an_unknown_focal_length_is_found(tmp_path: Path, mapper: str) -> None:
    cloud = make_point_cloud(tmp_path, num_points=400)
    path = verified_database(cloud, tmp_path, None)
    before = path.read_bytes()
    (model,) = map_database(path, None, tmp_path / "sparse", MapConfig(mapper=mapper)).models
    with open_database(path) as opened:  # global mapping calibrates a copy
        assert opened.read_camera(1).focal_length == 1.2 * 640
    assert len(path.read_bytes()) == len(before)
    assert model.camera(1).focal_length == pytest.approx(FOCAL, rel=0.005)
    assert pose_errors(cloud, poses(model))[0] < 0.2


@pytest.mark.parametrize("mapper", ["incremental", "global", "hierarchical"])
def test_the_seed_gives_the_same_files_twice(tmp_path: Path, mapper: str) -> None:
    path = verified_database(make_point_cloud(tmp_path, noise=0.5), tmp_path, None)

    def files(name: str) -> dict[str, bytes]:
        map_database(path, None, tmp_path / name, MapConfig(mapper=mapper, seed=3))
        return {p.name: p.read_bytes() for p in (tmp_path / name / "0").iterdir()}

    first = files("a")
    assert {"cameras.bin", "images.bin", "points3D.bin"} <= set(first)
    assert files("b") == first


def test_two_scenes_give_two_models_the_larger_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing connects the two groups of images, and the smaller comes first by name."""
    cloud = make_point_cloud(tmp_path, num_cameras=8, names=[f"{i}.jpg" for i in range(8)])
    small, large = set(cloud.names[:3]), set(cloud.names[3:])
    with MatchFile(cloud.matches) as m:
        kept = [(a, b, m.get(a, b)) for a, b in m.pairs(cloud.names) if {a, b} <= small or {a, b} <= large]
    write_matches(cloud.matches, kept, {})
    path = verified_database(cloud, tmp_path)
    (tmp_path / "sparse" / "7").mkdir(parents=True)
    models = map_database(path, None, tmp_path / "sparse").models
    assert [set(poses(model)) for model in models] == [large, small]
    assert [folder.name for folder in model_folders(tmp_path / "sparse")] == ["0", "1"]
    assert [model.num_reg_images() for model in read_models(tmp_path / "sparse")] == [5, 3]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    write_models(models[::-1], tmp_path / "sparse")
    assert [model.num_reg_images() for model in read_models(tmp_path / "sparse")] == [5, 3]
    diagnosis = starvation(path, models)
    assert [len(names) for names in diagnosis.components] == [5, 3]
    assert {(image.model, image.component) for image in diagnosis.images} == {(0, 0), (1, 1)}
    assert {p.name for p in tmp_path.iterdir()} == {"features.h5", "matches.h5", "database.db", "sparse"}


def test_no_model_is_an_empty_folder_and_the_log_is_not_on_the_terminal(tmp_path: Path, capfd) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=3)
    write_matches(cloud.matches, [], {})
    path = verified_database(cloud, tmp_path, None)
    assert map_database(path, None, tmp_path / "sparse", log_path=tmp_path / "colmap.log").models == []
    assert list((tmp_path / "sparse").iterdir()) == []
    assert capfd.readouterr().err == ""
    assert "images" in (tmp_path / "colmap.log").read_text()


def test_points_are_written_as_ply(tmp_path: Path) -> None:
    cloud = make_point_cloud(tmp_path, num_cameras=3)
    (model,) = map_database(verified_database(cloud, tmp_path), None, tmp_path / "sparse").models
    path = write_points(model, tmp_path / "points.ply")
    assert f"element vertex {model.num_points3D()}".encode() in path.read_bytes()[:400]


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no readable COLMAP model: it has no cameras"):
        read_model(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        read_model(tmp_path / "nowhere")
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"did you mean .*sparse.0"):
        read_model(tmp_path)
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        (tmp_path / name).write_bytes(b"\x05\0\0\0\0\0\0\0short")
    with pytest.raises(InputError, match=r"cameras\.bin is damaged: it is cut short"):
        read_model(tmp_path)
