"""Models into metres, east-north-up: in a run, and of a model that exists (`desdis-match align`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..colmap.control import read_control
from ..colmap.georeference import Targets, georeference
from ..colmap.mappers import MapConfig
from ..colmap.mapping import new_folder, read_model
from ..colmap.model_files import write_model
from ..errors import InputError
from ..photos.gps import read_positions
from ..storage.georeference import Georeference
from ..support.files import check_new_folder
from ..support.native import pycolmap

log = logging.getLogger(__name__)


def targets_of(config: MapConfig, images: Path | None, names: Sequence[str]) -> Targets:
    """What is known of the photos' places. Raises InputError for too little where it is asked for."""
    if config.control is not None:
        return Targets(control=read_control(Path(config.control)))
    targets = Targets() if images is None else Targets(read_positions(images, names))
    if config.georeference and not targets:
        raise InputError(
            f"{len(targets.positions)} of the {len(names)} photos have a GPS position, three are needed; "
            "give known positions with --control"
        )
    return Targets() if config.no_georeference or not targets else targets


def georeference_models(
    models: Sequence[pycolmap.Reconstruction], targets: Targets, images: Path | None, required: bool
) -> dict[int, Georeference]:
    """Transform the models in place; what became of each by number. One that cannot be is left as it is.

    Raises InputError for the first where it is `required`.
    """
    found: dict[int, Georeference] = {}
    for number, model in enumerate(models if targets else ()):
        try:
            found[number] = georeference(model, targets, images)
        except InputError as error:
            if required and number == 0:
                raise
            log.warning("model %d is not georeferenced: %s", number, error)
    return found


@dataclass(frozen=True)
class ModelInMetres:
    """A model in metres."""

    folder: Path
    georeference: Georeference


def georeference_model(
    model_dir: Path, output: Path, images: Path | None, control: Path | None
) -> ModelInMetres:
    """The model of folder `model_dir` in metres, as COLMAP's binary files in the new folder `output`.

    images: the photos, for their GPS and Orientation. control: a file of known positions or distances.
    Raises InputError where neither says enough.
    """
    if images is None and control is None:
        raise InputError(
            "nothing says where the model is; give the photos with --images, for their GPS, or --control"
        )
    check_new_folder(output)
    model = read_model(model_dir)
    names = [model.image(i).name for i in model.reg_image_ids()]
    targets = targets_of(MapConfig(control=control, georeference=True), images, names)
    where = georeference(model, targets, images)
    with new_folder(output) as folder:
        write_model(model, folder)
        where.save(folder)
    return ModelInMetres(output, where)
