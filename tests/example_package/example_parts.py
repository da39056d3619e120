"""A package that adds one part of each kind to desdis_match; entry_points.txt beside it names them."""

from dataclasses import replace

import torch

from desdis_match.colmap.mappers import map_global, map_incremental
from desdis_match.features.scalespace import Extrema, find_extrema
from desdis_match.features.whole import sift
from desdis_match.matching.match import match_features
from desdis_match.types import Matches


def half_hessian(image, config):
    """A detector: Hessian extrema, those of odd rank left out."""
    found = find_extrema(image, "hessian", 0, config.contrast_threshold, config.edge_threshold)
    rank = found.contrast.argsort(descending=True, stable=True)[::2]
    return Extrema(*(column[rank] for column in found))


class Pixels(torch.nn.Module):
    """A descriptor: an 8 x 8 copy of the patch without its mean."""

    dim = 64

    def forward(self, patches):
        small = torch.nn.functional.adaptive_avg_pool2d(patches, 8).flatten(1)
        return torch.nn.functional.normalize(small - small.mean(1, keepdim=True), dim=1)


class FewSift:
    """A whole local feature: SIFT's keypoints of sigma above 1.5."""

    def __call__(self, pixels, config):
        found = sift(pixels, config)
        keep = found.scales > 1.5
        columns = ("keypoints", "descriptors", "scores", "scales", "angles")
        return replace(found, **{name: getattr(found, name)[keep] for name in columns})


class Nearby:
    """A matcher that looks at more than descriptors: matches of blobs of like size."""

    def __call__(self, features0, features1, config):
        found = match_features(features0, features1, replace(config, matcher="mnn+ratio"))
        rows0, rows1 = found.indices.T
        ratio = features0.scales[rows0] / features1.scales[rows1]
        keep = (ratio > 0.5) & (ratio < 2)
        return Matches(found.indices[keep], found.scores[keep])


def alike(photos, config):
    """A choice of pairs: photos with about as many keypoints."""
    counts = {name: len(photos.features(name)) for name in photos.names}
    names = list(photos.names)
    return [
        (a, b) for i, a in enumerate(names) for b in names[i + 1 :] if 0.2 < counts[a] / max(counts[b], 1) < 5
    ]


def best_of_two(job):
    """A mapper: incremental and global mapping, the one with more points."""
    tries = [map_incremental(job), map_global(job)]
    return max(tries, key=lambda models: max((model.num_points3D() for model in models), default=0))
