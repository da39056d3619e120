"""Which photos share a camera, and where its focal length comes from."""

from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from PIL import Image, TiffImagePlugin

from desdis_match.errors import InputError
from desdis_match.photos.cameras import CameraConfig, PhotoInfo, assign_cameras, read_photo_info


def write_jpeg(path: Path, size: tuple[int, int], focal_35mm: int | None = None) -> None:
    """A grey JPEG; with `focal_35mm` an EXIF block of make, model, focal length and its 35 mm equivalent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".jpg", np.full(size[::-1], 128, np.uint8))[1].tobytes()
    if focal_35mm is not None:
        data = data[:2] + exif_segment(focal_35mm) + data[2:]
    path.write_bytes(data)


def exif_segment(focal_35mm: int) -> bytes:
    """APP1: IFD0 {Make, Model, ExifIFD}, ExifIFD {FocalLength, FocalLengthIn35mmFilm}, little endian."""

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return b"".join(
            (tag.to_bytes(2, "little"), kind.to_bytes(2, "little"), count.to_bytes(4, "little"))
        ) + value.to_bytes(4, "little")

    make, model = b"Acme\0\0\0\0", b"One\0\0\0\0\0"
    exif_at = 8 + 2 + 3 * 12 + 4
    data_at = exif_at + 2 + 2 * 12 + 4
    ifd0 = (3).to_bytes(2, "little") + entry(0x10F, 2, 8, data_at) + entry(0x110, 2, 8, data_at + 8)
    ifd0 += entry(0x8769, 4, 1, exif_at) + bytes(4)
    exif = (2).to_bytes(2, "little") + entry(0x920A, 5, 1, data_at + 16) + entry(0xA405, 3, 1, focal_35mm)
    rational = (focal_35mm * 10 // 2).to_bytes(4, "little") + (10).to_bytes(4, "little")
    tiff = b"II*\0" + (8).to_bytes(4, "little") + ifd0 + exif + bytes(4) + make + model + rational
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


def test_focal_length_is_exifs_or_a_guess(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "sub dir/known ü.jpg", (600, 400), focal_35mm=36)
    write_jpeg(tmp_path / "plain.jpg", (600, 400))
    cv2.imwrite(str(tmp_path / "w.webp"), np.full((400, 600), 99, np.uint8))
    sizes = dict.fromkeys(["sub dir/known ü.jpg", "plain.jpg", "w.webp"], (600, 400))
    cameras, of = assign_cameras(read_photo_info(tmp_path, sizes), CameraConfig())
    known, plain = cameras[of["sub dir/known ü.jpg"] - 1], cameras[of["plain.jpg"] - 1]
    # 36 mm on a 36 x 24 mm negative: COLMAP scales by the diagonal, which is 3:2 here as there.
    assert known.focal_length == pytest.approx(600, rel=1e-3)
    assert known.has_prior_focal_length
    assert plain.focal_length == pytest.approx(1.2 * 600)
    assert not plain.has_prior_focal_length
    assert of["w.webp"] == of["plain.jpg"]
    assert (known.principal_point_x, known.principal_point_y) == (300, 200)


@pytest.mark.parametrize("focal_35mm", [1, 600])
def test_a_focal_length_that_no_lens_has_is_not_believed(tmp_path: Path, focal_35mm: int, caplog) -> None:
    write_jpeg(tmp_path / "a.jpg", (600, 400), focal_35mm=focal_35mm)
    assert read_photo_info(tmp_path, {"a.jpg": (600, 400)})["a.jpg"].exif_focal is None
    assert "a.jpg: EXIF's focal length" in caplog.text
    for believed in (4, 359):  # just above a tenth, just below ten times the long side
        write_jpeg(tmp_path / "a.jpg", (600, 400), focal_35mm=believed)
        assert read_photo_info(tmp_path, {"a.jpg": (600, 400)})["a.jpg"].exif_focal


@pytest.mark.parametrize(("size", "focal"), [((600, 400), 583.3), ((640, 480), 647.2), ((480, 640), 647.2)])
def test_a_35_mm_equivalent_is_of_the_diagonal_as_colmap_has_it(tmp_path, size, focal) -> None:
    """35 mm of a 43.27 mm diagonal: 35 / 43.27 * 721.1 pixels, and of 4:3 photos 35 / 43.27 * 800."""
    write_jpeg(tmp_path / "a.jpg", size, focal_35mm=35)
    ours = read_photo_info(tmp_path, {"a.jpg": size})["a.jpg"].exif_focal
    assert ours == pytest.approx(focal, abs=0.1)
    assert ours == pytest.approx(
        pycolmap.Bitmap.read(tmp_path / "a.jpg", False).exif_focal_length(), rel=1e-3
    )


def test_a_tiffs_exif_is_read(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x10F], tags[0x8769] = "Acme", {0xA405: 36}
    Image.fromarray(np.full((400, 600), 99, np.uint8)).save(tmp_path / "a.tif", tiffinfo=tags)
    photo = read_photo_info(tmp_path, {"a.tif": (600, 400)})["a.tif"]
    assert photo == PhotoInfo((600, 400), "Acme", pytest.approx(600, rel=1e-3))


def test_a_photo_beyond_pillows_limit_is_read_as_any_other(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    names = [f"{i}.jpg" for i in range(8)]
    for name in names:
        write_jpeg(tmp_path / name, (600, 400), focal_35mm=36)
        data = (tmp_path / name).read_bytes()
        at = data.index(b"\xff\xc0") + 5  # the frame header's height and width
        huge = (20000).to_bytes(2, "big") + (30000).to_bytes(2, "big")
        (tmp_path / name).write_bytes(data[:at] + huge + data[at + 4 :])
    photos = read_photo_info(tmp_path, dict.fromkeys(names, (30000, 20000)), threads=4)
    assert {photo.size for photo in photos.values()} == {(30000, 20000)}
    assert photos["0.jpg"].exif_camera == "Acme One"
    # 36 mm on a 36 x 24 mm negative, as above.
    assert photos["0.jpg"].exif_focal == pytest.approx(30000, rel=1e-3)
    assert limit is not None and limit == Image.MAX_IMAGE_PIXELS  # others keep their guard


def test_auto_keeps_lenses_and_sizes_apart() -> None:
    photos = {
        "a": PhotoInfo((600, 400), "acme 35", 583.0),
        "b": PhotoInfo((600, 400), "acme 35", 583.0),
        "c": PhotoInfo((600, 400), "acme 50", 833.0),
        "d": PhotoInfo((400, 600), "acme 35", 583.0),
        "e": PhotoInfo((600, 400)),
        "f": PhotoInfo((600, 400)),
    }
    cameras, of = assign_cameras(photos, CameraConfig())
    assert of == {"a": 1, "b": 1, "c": 2, "d": 3, "e": 4, "f": 4}
    assert [c.camera_id for c in cameras] == [1, 2, 3, 4]
    assert (cameras[2].width, cameras[2].height) == (400, 600)


def test_auto_does_not_share_among_photos_from_everywhere() -> None:
    photos = {str(i): PhotoInfo((1000 + i // 2, 700)) for i in range(20)}
    assert len(assign_cameras(photos, CameraConfig())[0]) == 20
    turned = {str(i): PhotoInfo((1000, 700) if i % 2 else (700, 1000)) for i in range(6)}
    assert len(assign_cameras(turned, CameraConfig())[0]) == 2


def test_photos_that_repeat_few_sizes_are_one_lens_a_size() -> None:
    """A size for every four photos is the most that one person's lenses and crops make."""

    def cameras(*sizes: tuple[int, int]) -> int:
        photos = {str(i): PhotoInfo(size) for i, size in enumerate(sizes)}
        return len(assign_cameras(photos, CameraConfig())[0])

    wide, narrow = (1000, 700), (900, 700)
    assert cameras(*[wide] * 6, *[narrow] * 2) == 2
    assert cameras(*[wide] * 5, *[narrow] * 2) == 7
    # Upright and lying photos are of one size, though not of one camera.
    assert cameras(*[wide] * 3, (700, 1000), *[narrow] * 4) == 3
    assert cameras(wide) == 1 and cameras(wide, wide) == 1 and cameras(wide, narrow) == 2


def test_the_other_modes() -> None:
    photos = {name: PhotoInfo((60, 40)) for name in ("x/1", "x/2", "y/1", "top")}

    def groups(mode: str) -> list[int]:
        return list(assign_cameras(photos, CameraConfig(camera_mode=mode))[1].values())

    assert groups("single") == [1, 1, 1, 1]
    assert groups("per-folder") == [1, 1, 2, 3]
    assert groups("per-image") == [1, 2, 3, 4]


def test_given_model_and_parameters() -> None:
    photos = {"a": PhotoInfo((60, 40), None, 55.0)}
    config = CameraConfig(camera_model="opencv", camera_params="50,51,30,20,0.1,0,0,0")
    (camera,), _ = assign_cameras(photos, config)
    assert camera.model_name == "OPENCV"
    assert camera.params.tolist() == [50, 51, 30, 20, 0.1, 0, 0, 0]
    assert camera.has_prior_focal_length


def test_a_fisheye_has_a_focal_length_that_colmap_trusts() -> None:
    """COLMAP lets no pair of fisheye photos pass without one; half of all directions corner to corner."""
    photos = {"a": PhotoInfo((800, 600)), "b": PhotoInfo((800, 600), "acme 8", 250.0)}
    cameras, _ = assign_cameras(photos, CameraConfig(camera_model="OPENCV_FISHEYE"))
    assert [camera.has_prior_focal_length for camera in cameras] == [True, True]
    # 1000 pixels across the diagonal are pi radians, of the lens r = f theta.
    assert [camera.focal_length_x for camera in cameras] == pytest.approx([318.3, 250], abs=0.1)


def test_wrong_options_say_what_would_be_right(tmp_path: Path) -> None:
    photos = {"a": PhotoInfo((60, 40)), "b": PhotoInfo((60, 50))}
    with pytest.raises(InputError, match=r"'nonsense' is unknown; COLMAP has .*SIMPLE_RADIAL"):
        assign_cameras(photos, CameraConfig(camera_model="nonsense"))
    with pytest.raises(InputError, match=r"'1,2' do not fit SIMPLE_RADIAL, which takes f, cx, cy, k"):
        assign_cameras(photos, CameraConfig(camera_params="1,2"))
    with pytest.raises(InputError, match="'a' is 60 x 40 pixels and 'b' 60 x 50: they cannot share"):
        assign_cameras(photos, CameraConfig(camera_mode="single"))
    write_jpeg(tmp_path / "a", (70, 40))
    with pytest.raises(InputError, match="is 70 x 40 pixels, its features are of a photo of 60 x 40"):
        read_photo_info(tmp_path, {"a": (60, 40)})
    with pytest.raises(InputError, match="not in the image folder"):
        read_photo_info(tmp_path, {"gone.jpg": (60, 40)})
