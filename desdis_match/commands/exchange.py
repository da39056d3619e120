"""`desdis-match import-database | export-database | export-features`: to and from COLMAP's own files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..colmap.verification import VerifyConfig
from ..exchange.database import ColmapVersion, export_database, import_database
from ..exchange.models import ModelFormat, export_model
from ..exchange.pinholes import EIGHT_FACES, FaceConfig
from ..exchange.text import write_text_features
from ..photos.cameras import CameraConfig
from ..pipeline import check_no_run
from ..storage.features_file import FeatureFile
from ..storage.matches_file import MatchFile
from .flags import parse


@dataclass(frozen=True)
class ImportDatabaseCommand:
    """An existing COLMAP database -> features.h5 and matches.h5."""

    database: Path
    """COLMAP's database.db."""
    features: Path = Path("features.h5")
    """The file to write: keypoints and descriptors."""
    matches: Path = Path("matches.h5")
    """The file to write: raw matches."""
    overwrite: bool = False
    """Replace these files where they exist."""


def main_import_database(argv: Sequence[str]) -> int:
    """`desdis-match import-database`."""
    command = parse(ImportDatabaseCommand, argv, "import-database")
    for written in (command.features, command.matches):
        check_no_run(written)
    found = import_database(command.database, command.features, command.matches, command.overwrite)
    print(f"{command.features}: {found.num_keypoints} keypoints of {found.num_images} images")
    print(f"{command.matches}: {found.num_matches} matches of {found.num_pairs} pairs")
    return 0


@dataclass(frozen=True)
class ExportDatabaseCommand:
    """features.h5 and matches.h5 -> into a COLMAP database, an existing one with its cameras and image ids.

    COLMAP's mapper can run on it at once.
    """

    database: Path
    """COLMAP's database.db; changed as a whole or not at all, made where there is none."""
    features: Path = Path("features.h5")
    """Keypoints, in hloc's layout."""
    matches: Path = Path("matches.h5")
    """Matches, in hloc's layout."""
    images: Path | None = None
    """Folder of photos, for the cameras of images that are new to the database."""
    cameras: CameraConfig = field(default_factory=CameraConfig)
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    raw: bool = False
    """Leave two-view geometries out; COLMAP's own `geometric_verifier` or `matches_importer` makes them."""
    colmap: ColmapVersion = "same"
    """Whose tables to write: 3 for COLMAP 3.8 (and later, which bring them up to date), 4 for COLMAP 4; same:
    those of the database that is there, 4 where there is none."""
    overwrite: bool = False
    """Replace keypoints and matches of images that have some."""


def main_export_database(argv: Sequence[str]) -> int:
    """`desdis-match export-database`."""
    command = parse(ExportDatabaseCommand, argv, "export-database")
    with FeatureFile(command.features) as features, MatchFile(command.matches) as matches:
        num_new = export_database(
            features,
            matches,
            command.database,
            command.images,
            command.cameras,
            command.overwrite,
            None if command.raw else command.verify,
            command.colmap,
        )
        print(f"{command.database}: features of {len(features.names())} images, {num_new} of them new")
        if not command.raw:
            images = command.images or Path("PHOTOS")
            where = f"--database_path {command.database} --image_path {images}"
            print(f"map it: colmap mapper {where} --output_path MODELS")
    return 0


@dataclass(frozen=True)
class ExportFeaturesCommand:
    """features.h5 -> COLMAP's text files, for `colmap feature_importer`."""

    features: Path = Path("features.h5")
    """Keypoints and descriptors, in hloc's layout."""
    output: Path = Path("features")
    """Folder for NAME.txt files."""


def main_export_features(argv: Sequence[str]) -> int:
    """`desdis-match export-features`."""
    command = parse(ExportFeaturesCommand, argv, "export-features")
    with FeatureFile(command.features) as features:
        write_text_features(features, command.output)
        print(f"{command.output}: {len(features.names())} text files")
    return 0


@dataclass(frozen=True)
class ExportCommand:
    """A COLMAP model -> the files of another program."""

    model: Path
    """Folder of the model, for example OUT/sparse/0."""
    format: ModelFormat
    """3dgs: upright photos without distortion and their model, for splat trainers; undistorted: the like as
    COLMAP's dense workspace; geojson, las, laz: where a georeferenced model is on earth."""
    output: Path
    """A file for ply, las, laz, geojson, csv and nvm, a folder for the others."""
    images: Path | None = None
    """Folder of the photos; needed for 3dgs and undistorted, used by nerfstudio and opensfm."""
    masks: Path | None = None
    """Masks to export with the photos (3dgs, nerfstudio)."""
    link: bool = False
    """Link to the photos instead of copying them (nerfstudio, opensfm)."""
    faces: int | None = None
    """Perspective photos around each panorama, 90 degrees wide; 3dgs and undistorted cut into 8 where none is
    given, the others keep panoramas."""
    face_poles: bool = False
    """Two more faces of each panorama, straight up and down."""


def main_export(argv: Sequence[str]) -> int:
    """`desdis-match export`."""
    command = parse(ExportCommand, argv, "export")
    faces = None
    if command.faces is not None or command.face_poles:
        faces = FaceConfig(EIGHT_FACES.around if command.faces is None else command.faces, command.face_poles)
    made = export_model(
        command.model,
        command.format,
        command.output,
        command.images,
        masks=command.masks,
        link=command.link,
        faces=faces,
    )
    print(f"{made.path}: {made.holds}")
    if made.next_command:
        print(f"next: {made.next_command}")
    return 0
