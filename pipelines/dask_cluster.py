"""Photos -> a model, the photos and pairs worked on by a Dask cluster.

    python pipelines/dask_cluster.py PHOTOS OUT [SCHEDULER]

SCHEDULER: address or scheduler file of a cluster whose machines all see PHOTOS and OUT; start its workers
with one thread each (`dask worker --nthreads 1`). Without it the script starts two workers on this machine.
"""

import sys
from pathlib import Path

from dask.distributed import LocalCluster

from desdis_match.pipeline import RunConfig
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct


def main(photos: str, out: str, scheduler: str) -> None:
    run = RunConfig(executor=f"dask:{scheduler}")
    result = reconstruct(ReconstructConfig(images=Path(photos), output=Path(out), run=run))
    model = result.report.models[0]
    print(f"{model.num_registered} photos, {model.num_points} points: {result.output / 'sparse' / '0'}")


if __name__ == "__main__":  # worker processes import this script
    if len(sys.argv) > 3:
        main(*sys.argv[1:4])
    else:
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            main(*sys.argv[1:3], cluster.scheduler_address)
