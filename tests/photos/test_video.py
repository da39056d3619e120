"""Frames of films: spaced by motion, the sharp ones, named by their time."""

import cv2
import numpy as np
import pytest
from PIL import Image

from desdis_match.commands.cli import main
from desdis_match.errors import InputError
from desdis_match.matching.pairs import PairsConfig
from desdis_match.photos.cameras import assign_cameras, read_photo_info
from desdis_match.photos.video import VideoConfig, write_frames
from desdis_match.pipeline.films import pairs_of, photos_of

RATE = 30


def texture(width=2400, height=240):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Three seconds: the camera stands for one, pans by 8 pixels a frame for one, stands for one.

    Every frame of the pan but each fourth is blurred.
    """
    path = tmp_path_factory.mktemp("film") / "walk.avi"
    wall = texture()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (320, 240))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG")
    for number in range(90):
        at = 8 * min(max(number - 30, 0), 30)
        frame = wall[:, at : at + 320]
        if 30 <= number < 60 and number % 4:
            frame = cv2.GaussianBlur(frame, (0, 0), 4)
        writer.write(np.ascontiguousarray(frame))
    writer.release()
    return path


def seconds(name):
    hours, rest = name.removesuffix("s.jpg").split("h")
    minutes, rest = rest.split("m")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest.replace("_", "."))


def test_frames_are_taken_where_the_picture_moves(film, tmp_path):
    names = write_frames(film, tmp_path / "f", VideoConfig(frame_motion=0.1))
    times = [seconds(name) for name in names]
    assert names == sorted(names) and times == sorted(times)
    # 240 pixels of motion at steps of 32: eight steps or so, and one frame each of the two seconds at rest.
    assert 6 <= len(names) <= 10
    assert sum(1.0 <= time <= 2.0 for time in times) >= len(names) - 2
    assert sorted(path.name for path in (tmp_path / "f").glob("*.jpg")) == names


def test_the_sharp_frame_of_a_step_is_taken(film, tmp_path):
    names = write_frames(film, tmp_path / "f", VideoConfig(frame_motion=0.2))
    blurred = 0
    for name in names:
        grey = cv2.imread(str(tmp_path / "f" / name), cv2.IMREAD_GRAYSCALE)
        blurred += cv2.Laplacian(grey, cv2.CV_32F).var() < 60
    assert blurred == 0


def test_number_and_rate(film, tmp_path):
    assert len(write_frames(film, tmp_path / "n", VideoConfig(frames=4))) == 4
    assert len(write_frames(film, tmp_path / "r", VideoConfig(frame_rate=2))) == 6  # three seconds


def test_frames_are_kept_and_made_anew_with_other_options(film, tmp_path):
    write_frames(film, tmp_path / "f", VideoConfig(frames=4))
    (first, *_) = sorted((tmp_path / "f").glob("*.jpg"))
    before = first.stat().st_mtime_ns
    write_frames(film, tmp_path / "f", VideoConfig(frames=4))
    assert first.stat().st_mtime_ns == before
    assert len(write_frames(film, tmp_path / "f", VideoConfig(frames=2))) == 2
    assert len(list((tmp_path / "f").glob("*.jpg"))) == 2


def test_a_film_or_a_folder_of_films_stands_for_photos(film, tmp_path):
    photos = photos_of(film, tmp_path / "out", VideoConfig(frames=3))
    assert photos == tmp_path / "out" / "frames" and len(list((photos / "walk").glob("*.jpg"))) == 3
    names = [f"walk/{path.name}" for path in (photos / "walk").glob("*.jpg")]
    sizes = dict.fromkeys(names, (320, 240))
    assert not any(Image.open(photos / name).getexif() for name in names)
    assert len(assign_cameras(read_photo_info(photos, sizes))[0]) == 1
    assert pairs_of(film, photos, PairsConfig()).pairs == "sequential+retrieval"
    assert pairs_of(film, photos, PairsConfig(pairs="exhaustive")).pairs == "exhaustive"
    cv2.imwrite(str(film.parent / "still.jpg"), texture(320, 240))
    mixed = photos_of(film.parent, tmp_path / "mixed", VideoConfig(frames=3))
    assert (mixed / "still.jpg").is_file() and len(list((mixed / "walk").glob("*.jpg"))) == 3
    assert pairs_of(film.parent, mixed, PairsConfig()).pairs == "auto"
    (film.parent / "still.jpg").unlink()


def test_what_is_no_film_is_one_sentence(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"no film" * 100)
    with pytest.raises(InputError, match="no codec for it; convert it"):
        write_frames(tmp_path / "a.mp4", tmp_path / "f", VideoConfig())
    assert main(["reconstruct", "--images", str(tmp_path / "a.mp4"), "--quiet"]) == 2
    assert "cannot be read as a film" in capsys.readouterr().err
    with pytest.raises(InputError, match="does not exist"):
        write_frames(tmp_path / "b.mp4", tmp_path / "f", VideoConfig())


def test_a_film_is_taken_by_the_command(film, tmp_path, capsys):
    """Of which nothing is known before its frames are there, and whose frames never lie among photos."""
    arguments = [
        "--workers=1",
        "--max-keypoints=300",
        "--descriptor=rootsift",
        f"--output={tmp_path / 'out'}",
    ]
    assert main(["reconstruct", f"--images={film}", *arguments]) in (0, 3)  # what it shows may be too little
    assert "0 images" not in capsys.readouterr().out
    assert len(list((tmp_path / "out/frames/walk").glob("*.jpg"))) > 5
    inside = film.parent / "out"
    assert main(["reconstruct", f"--images={film.parent}", f"--output={inside}"]) == 2
    assert "will hold frames of films, and lies in" in capsys.readouterr().err
    assert not inside.exists()
