"""A scene mapped by some of its pairs, from matches and two-view geometries of more: what pairs are worth."""

from collections.abc import Collection
from pathlib import Path

from ...colmap.database import build_database
from ...colmap.mapping import MapConfig, map_database, model_summary
from ...colmap.verification import verification_setting, write_geometries
from ...matching.pairs import Pair
from ...storage.features_file import FeatureFile
from ...storage.matches_file import MatchFile
from ...storage.two_view_file import TwoViewFile


def map_by(
    images: Path,
    features: Path,
    matches: Path,
    two_view: Path,
    pairs: Collection[Pair],
    out: Path,
    mapper: str,
) -> dict[str, int]:
    """Map `images` by those of the verified pairs that `pairs` name, in either order; count what registers.

    A pair's matches and geometry do not depend on which others there are, so one matching serves all choices.
    """
    out.mkdir(parents=True, exist_ok=True)
    wanted = {frozenset(pair) for pair in pairs}
    config = MapConfig(mapper=mapper)
    with (
        FeatureFile(features) as feature_file,
        MatchFile(matches) as match_file,
        TwoViewFile(two_view) as found,
    ):
        listed = [
            pair for pair in sorted(match_file.pairs(feature_file.names())) if frozenset(pair) in wanted
        ]
        database = build_database(out / "database.db", images, feature_file, match_file, listed)
        geometries = ((a, b, found.get(a, b)) for a, b in listed)
        setting = verification_setting(config.verify, config.seed)
        write_geometries(database, geometries, setting, found.still())
    models = map_database(database, None, out / "sparse", config).models
    counts = [model_summary(model) for model in models]
    return {
        "pairs": len(listed),
        "registered": counts[0].num_registered if counts else 0,
        "registered_in_all": sum(count.num_registered for count in counts),
        "points": counts[0].num_points if counts else 0,
    }
