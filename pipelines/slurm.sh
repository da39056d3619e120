#!/bin/bash
# Photos -> a model on Slurm, by job arrays: nothing but sbatch and a file system that all nodes see.
#
#     bash pipelines/slurm.sh PHOTOS OUT [PARTS]
#
# OUT gets what `desdis-match reconstruct` makes. PARTS: jobs of each array, 8 by default. Each job takes one
# core; SBATCH_OPTIONS ("--partition=long --mem=4G") goes to every sbatch. A job that failed or was killed:
# run the script again, what is done is not done twice.
set -eu
photos=$(printf %q "$(realpath "$1")") out=$(printf %q "$(realpath -m "$2")") parts=${3:-8}
mkdir -p "$2"

submit() { # [sbatch options] command
    local command="export OMP_NUM_THREADS=1; ${*: -1}"
    # shellcheck disable=SC2086
    sbatch --parsable --job-name=desdis --cpus-per-task=1 ${SBATCH_OPTIONS:-} "${@:1:$#-1}" --wrap "$command"
}
array() { # [dependency] stage and options: one job a part
    submit "${@:1:$#-1}" "--array=1-$parts" \
        "desdis-match ${*: -1} --workers 1 --shard \$SLURM_ARRAY_TASK_ID/\$SLURM_ARRAY_TASK_COUNT"
}
after() { echo "--dependency=afterok:$1"; }

extract="extract --images $photos --output $out/features.h5"
match="match --features $out/features.h5 --pairs $out/pairs.txt --output $out/matches.h5"
verify="verify --images $photos --features $out/features.h5 --matches $out/matches.h5 --output $out/two_view.h5"

job=$(array "$extract")
job=$(array "$(after "$job")" "$extract") # which photos are turned, all of them together decide
job=$(submit "$(after "$job")" "desdis-match merge-shards $extract && \
    desdis-match pairs --images $photos --features $out/features.h5 --output $out/pairs.txt")
job=$(array "$(after "$job")" "$match")
job=$(submit "$(after "$job")" "desdis-match merge-shards $match")
job=$(array "$(after "$job")" "$verify")
job=$(submit "$(after "$job")" "desdis-match merge-shards $verify && \
    desdis-match reconstruct --images $photos --output $out") # finds all of it done, and maps
echo "the model will be in $2 when job $job ends"
