"""Mapping in clusters: the graph is cut where it is thin, the joined model the same wherever it was made."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pointcloud import make_point_cloud, pose_errors
from pointcloud_models import poses, verified_database
from scipy.sparse import csr_array

from desdis_match.colmap import hierarchical
from desdis_match.colmap.arrays import arrays_of
from desdis_match.colmap.mappers import Job
from desdis_match.colmap.mapping import MapConfig, map_database
from desdis_match.support.native import pycolmap

CONFIG = MapConfig(mapper="hierarchical", fix_intrinsics=True)


def graph(num: int, edges: dict[tuple[int, int], int]) -> csr_array:
    dense = np.zeros((num, num))
    for (i, j), weight in edges.items():
        dense[i, j] = dense[j, i] = weight
    return csr_array(dense)


def test_the_view_graph_is_cut_where_it_is_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchical, "LEAF", 4)
    monkeypatch.setattr(hierarchical, "OVERLAP", 1)
    # Even photos see much of each other, so do odd ones; two thin threads join them. Photo 8 is alone.
    edges = {(i, j): 100 for i in range(8) for j in range(i + 2, 8, 2)} | {(3, 4): 30, (1, 2): 20}
    found = hierarchical.clusters(graph(9, edges))
    assert sorted(members.tolist() for members in found) == [[0, 2, 3, 4, 6], [1, 3, 4, 5, 7]]
    monkeypatch.setattr(hierarchical, "LEAF", 8)
    assert [members.tolist() for members in hierarchical.clusters(graph(9, edges))] == [list(range(8))]


def test_clusters_are_joined_to_the_true_poses_with_the_same_bits_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hierarchical, "LEAF", 5)
    monkeypatch.setattr(hierarchical, "OVERLAP", 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    cloud = make_point_cloud(tmp_path, num_cameras=9, num_points=150)
    database = verified_database(cloud, tmp_path)
    mapped = []
    map_incremental = hierarchical.map_incremental

    def noted(job: Job, **of: object) -> list[pycolmap.Reconstruction]:
        mapped.append(of)
        models = map_incremental(job, **of)
        assert all(len(arrays_of(model).points.ids) for model in models)  # in a folder of the cluster's
        return models

    monkeypatch.setattr(hierarchical, "map_incremental", noted)
    (model,) = map_database(database, None, tmp_path / "alone", CONFIG).models
    assert [len(of["image_names"]) for of in mapped] == [6, 7]
    rotation, direction = pose_errors(cloud, poses(model))
    assert model.num_reg_images() == 9 and rotation < 0.01 and direction < 0.02
    with ThreadPoolExecutor(2) as executor:
        map_database(database, None, tmp_path / "spread", CONFIG, executor=executor)
    for name in ("images.bin", "points3D.bin", "cameras.bin"):
        assert (tmp_path / "spread/0" / name).read_bytes() == (tmp_path / "alone/0" / name).read_bytes()
