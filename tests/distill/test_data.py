"""Patch sources: readers on tiny files made here, damaged files, splitting, joining, what a batch holds."""

import json

import cv2
import h5py
import numpy as np
import pytest

from desdis_match.distill.datasets import HPATCHES_FILES, load_sources, read_hpatches, read_source
from desdis_match.distill.warps import WarpConfig, make_textures, move_frames, random_frames, warped_patches
from desdis_match.errors import InputError
from desdis_match.patchsets.patchfile import read_patch_file, write_patch_file
from desdis_match.patchsets.patchset import draw_pairs, join_sets, make_patch_set, split
from desdis_match.patchsets.phototour import read_labelled_pairs, read_phototour


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def a_set(points: list[int], doubt: int = 0, side: int = 8, **options):
    return make_patch_set(
        noise(len(points), side, side), np.array(points), "test", "none", doubt=doubt, **options
    )


@pytest.fixture
def phototour(tmp_path):
    """Three hundred patches: a whole mosaic and a part of a second."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    patches = noise(300, 64, 64)
    padded = np.zeros((512, 64, 64), np.uint8)
    padded[:300] = patches
    for number in range(2):
        mosaic = padded[256 * number : 256 * (number + 1)].reshape(16, 16, 64, 64).swapaxes(1, 2)
        cv2.imwrite(str(folder / f"patches{number:04d}.bmp"), mosaic.reshape(1024, 1024))
    (folder / "info.txt").write_text("".join(f"{row // 3} 0\n" for row in range(300)))
    return folder, patches


def test_phototour_reads_patches_row_by_row(phototour):
    folder, patches = phototour
    found = read_phototour(folder)
    assert np.array_equal(found.patches, patches)
    assert found.points.tolist() == [row // 3 for row in range(300)]
    assert found.num_points == 100
    assert found.doubt.max() == 0
    assert read_source(f"phototour:{folder},doubt=4").doubt.tolist() == [4] * 300


def test_phototour_says_what_is_missing(phototour):
    folder, _ = phototour
    (folder / "patches0001.bmp").write_bytes((folder / "patches0001.bmp").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"patches0001\.bmp is not readable"):
        read_phototour(folder)
    (folder / "patches0001.bmp").unlink()
    with pytest.raises(InputError, match=r"300 patches, which takes 2 mosaics .* there are 1"):
        read_phototour(folder)
    (folder / "info.txt").write_text("0 0\nx y\n")
    with pytest.raises(InputError, match=r"info\.txt is damaged"):
        read_phototour(folder)
    with pytest.raises(InputError, match="there is no"):
        read_phototour(folder / "nothing")


def test_labelled_pairs(tmp_path):
    path = tmp_path / "m50_2_2_0.txt"
    path.write_text("7 3 0 9 3 0 0\n1 0 0 2 1 0 0\n")
    found = read_labelled_pairs(path)
    assert (found.first.tolist(), found.second.tolist()) == ([7, 1], [9, 2])
    assert found.same.tolist() == [True, False]
    path.write_text("7 3\n")
    with pytest.raises(InputError, match="damaged"):
        read_labelled_pairs(path)


def test_hpatches_rows_are_points(tmp_path):
    strips = {}
    for sequence, count in (("i_one", 2), ("v_two", 3)):
        (tmp_path / sequence).mkdir()
        for name in HPATCHES_FILES:
            strips[sequence, name] = noise(65 * count, 65, seed=hash((sequence, name)) % 1000)
            cv2.imwrite(str(tmp_path / sequence / f"{name}.png"), strips[sequence, name])
    found = read_hpatches(tmp_path)
    assert found.num_points == 5 and len(found) == 16 * 5
    of_point = found.patches[found.points == 3]  # the second patch of the second sequence
    expected = [strips["v_two", name][65:130] for name in HPATCHES_FILES]
    assert np.array_equal(of_point, expected)
    cv2.imwrite(str(tmp_path / "v_two" / "t3.png"), noise(65, 65))
    with pytest.raises(InputError, match=r"t3\.png holds 1 patches, ref\.png 3"):
        read_hpatches(tmp_path)
    (tmp_path / "v_two" / "t3.png").unlink()
    with pytest.raises(InputError, match=r"t3\.png is missing or damaged"):
        read_hpatches(tmp_path)


def test_patch_file_comes_back_as_written(tmp_path):
    written = a_set([5, 5, 6, 6, 9], doubt=2, groups=np.array([1, 1, 1, 1, 4]), context=1.5)
    path = write_patch_file(tmp_path / "p.h5", written, {"side": 8})
    found = read_patch_file(path)
    for name in ("patches", "points", "groups", "doubt", "context"):
        assert np.array_equal(getattr(found, name), getattr(written, name)), name
    assert (found.sources, found.licences) == (("test",), ("none",))
    with h5py.File(path) as file:
        assert json.loads(file.attrs["config"]) == {"side": 8}
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        read_patch_file(path)
    with pytest.raises(InputError, match="cannot be written"):
        write_patch_file(tmp_path / "p.h5" / "q.h5", written, {})
    assert [found.name for found in tmp_path.iterdir()] == ["p.h5"]


def test_a_point_with_one_patch_is_not_trained_on():
    assert a_set([1, 2, 2, 3, 3, 3]).num_points == 2
    with pytest.raises(InputError, match="no point has two patches"):
        a_set([1, 2, 3])


def test_split_shares_no_point_nor_one_that_may_be_the_same():
    whole = a_set([point for point in range(50) for _ in range(2)], doubt=4)
    training, held = split(whole, 0.2)
    assert held.groups.min() == 40
    assert held.groups.min() - training.groups.max() > 4
    with pytest.raises(InputError, match="leaves a part without a pair"):
        split(a_set([1, 1]), 0.2)


def test_join_keeps_ids_apart_and_patches_at_one_size():
    one = a_set([3, 3, 9, 9], doubt=4)
    two = a_set([0, 0, 1, 1], side=16)
    joined = join_sets([one, two])
    assert joined.patches.shape == (8, 16, 16)
    assert len(np.unique(joined.points)) == 4
    assert joined.groups[4:].min() - joined.groups[:4].max() > 4
    assert joined.doubt.tolist() == [4] * 4 + [0] * 4
    assert np.array_equal(joined.patches[4:], two.patches)


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_never_holds_two_points_that_may_be_one(seed):
    points = np.repeat(np.arange(120), np.random.default_rng(1).integers(1, 5, 120))
    data = make_patch_set(noise(len(points), 4, 4), points, "test", "none", doubt=4)
    pairs = draw_pairs(data, 16, np.random.default_rng(seed))
    gaps = np.abs(pairs.groups[:, None] - pairs.groups[None])[~np.eye(len(pairs.groups), dtype=bool)]
    assert gaps.min() > 4
    assert 8 <= len(pairs.anchors) <= 16
    assert np.array_equal(data.points[pairs.anchors], data.points[pairs.positives])
    assert (pairs.anchors != pairs.positives).all()


def test_every_patch_and_point_can_be_drawn():
    data = a_set([0, 0, 0, 10, 10, 20, 20, 20, 20])
    drawn = [draw_pairs(data, 3, np.random.default_rng(seed)) for seed in range(60)]
    assert {int(row) for pairs in drawn for row in (*pairs.anchors, *pairs.positives)} == set(range(9))
    again = draw_pairs(data, 3, np.random.default_rng(7))
    assert np.array_equal(again.anchors, drawn[7].anchors)


def test_a_batch_of_stretches_takes_neighbours_and_reaches_every_point():
    data = a_set(np.repeat(np.arange(1000), 2))
    drawn = [draw_pairs(data, 128, np.random.default_rng(seed), stretch=100) for seed in range(60)]
    for pairs in drawn:
        points = np.sort(data.points[pairs.anchors])
        assert len(points) == len(np.unique(points)) <= 128
        gaps = np.diff(points)
        assert (gaps > 100).sum() <= 3  # 128 pairs and some to spare from four stretches of 64
        assert np.median(gaps) <= 3  # of all points alike: about 8
    assert len(np.unique(np.concatenate([data.points[pairs.anchors] for pairs in drawn]))) > 950
    whole = draw_pairs(a_set([0, 0, 5, 5, 9, 9]), 3, np.random.default_rng(0), stretch=100)
    assert len(whole.anchors) == 3  # a stretch longer than the data is all of it


def test_unknown_sources_are_refused():
    for spec, said in (
        ("liberty", "no patch source"),
        ("zip:x", "no patch source"),
        ("textures:2,seed=x", "options"),
    ):
        with pytest.raises(InputError, match=said):
            read_source(spec)
    with pytest.raises(InputError, match="no patch source is given"):
        load_sources([], 0.2)


def test_moved_frames_are_where_the_homography_puts_them():
    frames = np.array([[[10.0, 0.0, 40.0], [0.0, 10.0, 30.0]]])
    turn = np.deg2rad(30)
    matrix = np.array(
        [[2 * np.cos(turn), -2 * np.sin(turn), 5], [2 * np.sin(turn), 2 * np.cos(turn), 7], [0, 0, 1]]
    )
    moved = move_frames(frames, matrix)[0]
    assert moved[:, 2] == pytest.approx(matrix[:2, :2] @ [40, 30] + [5, 7])
    assert moved[:, :2] == pytest.approx(20 * matrix[:2, :2] / 2)
    # A perspective one against finite differences: the area of a small square.
    matrix = np.array([[1.1, 0.2, 3], [-0.1, 0.9, 2], [1e-3, -5e-4, 1]])
    corners = np.array([[40, 30, 1], [40.001, 30, 1], [40, 30.001, 1]]) @ matrix.T
    corners = corners[:, :2] / corners[:, 2:]
    area = np.linalg.det(corners[1:] - corners[0]) * 1e6
    radius = np.linalg.norm(move_frames(frames, matrix)[0, :, 0])
    assert radius == pytest.approx(10 * np.sqrt(area), rel=1e-3)


def test_patches_are_cut_where_the_frame_is():
    """Half side 16, context 2 and 64 stored pixels: the patch is the picture's own pixels."""
    picture = noise(200, 300)
    frame = np.array([[[16.0, 0.0, 99.5], [0.0, 16.0, 79.5]]])
    patches, points = warped_patches(
        picture, WarpConfig(context=2.0, views=3), np.random.default_rng(0), frame
    )
    assert points.tolist()[0] == 0 and len(points) >= 2
    assert np.array_equal(patches[0], picture[48:112, 68:132])


def test_photos_are_cut_at_keypoints(tmp_path):
    """Blobs on a flat picture: every patch has a blob in its middle."""
    picture = np.full((300, 400), 90, np.uint8)
    for x in range(60, 360, 60):
        for y in range(60, 280, 60):
            cv2.circle(picture, (x, y), 3, 230, -1, cv2.LINE_AA)
    cv2.imwrite(str(tmp_path / "blobs.png"), cv2.GaussianBlur(picture, (0, 0), 1.5))
    found = read_source(f"photos:{tmp_path}")
    first = found.patches[found.order[found.spans[:, 0]]].astype(float)
    middle, edge = first[:, 28:36, 28:36].mean(axis=(1, 2)), first[:, :4, 28:36].mean(axis=(1, 2))
    assert found.num_points >= 10
    assert np.mean(middle > edge + 20) > 0.9


def test_views_without_change_are_the_picture_itself():
    """No rotation, zoom, tilt, error or light: all patches of a point are equal."""
    still = WarpConfig(
        points=40, rotation=0, zoom=0, tilt=(0, 0), perspective=0, error_shift=0, error_zoom=0,
        error_rotation=0, gamma=0, gain=0, blur=0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(noise(300, 400), (0, 0), 3) * 4
    patches, points = warped_patches(picture, still, rng, random_frames(picture.shape, still, rng))
    assert len(points) >= 4
    for point in np.unique(points):
        same = patches[points == point].astype(int)
        assert np.abs(same - same[0]).max() <= 1


def test_textures_are_the_same_for_the_same_seed():
    one, two = (make_textures(2, WarpConfig(points=30)) for _ in range(2))
    assert np.array_equal(one.patches, two.patches) and np.array_equal(one.points, two.points)
    assert one.num_points > 10
    assert one.context.tolist() == pytest.approx([1.5] * len(one))
    assert not np.array_equal(
        one.patches, make_textures(2, WarpConfig(points=30), seed=1).patches[: len(one)]
    )


def test_photos_that_cannot_be_read_are_left_out(tmp_path):
    cv2.imwrite(str(tmp_path / "good.png"), cv2.GaussianBlur(noise(200, 300), (0, 0), 2))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert read_source(f"photos:{tmp_path}").num_points > 5
    (tmp_path / "good.png").unlink()
    with pytest.raises(InputError, match="no picture gave a patch"):
        read_source(f"photos:{tmp_path}")


def test_notredame_is_read_whole(shared_data):
    found = read_phototour(shared_data / "patches_notredame", doubt=4)
    assert len(found) == 103_936
    assert found.num_points == 34_166
