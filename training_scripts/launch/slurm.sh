#!/bin/bash
# Both stages as a job on two nodes with eight GPUs each, from the root of the repository:
#
#   sbatch training_scripts/launch/slurm.sh pretrain_contrastive training_scripts/configs/paper/pretrain.yaml \
#       --output_dir runs/paper/pretrained
#
# Two minutes before the time limit the run gets SIGTERM, saves a checkpoint and ends, and the job goes back to the
# queue; it then goes on where it was. The same holds for preemption. The output folder must be seen by all nodes.
#SBATCH --job-name=jsqa
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

script="training_scripts/$1.py"
shift
first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
gpus=${GPUS_PER_NODE:-8}
export OMP_NUM_THREADS=1

srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$gpus" --rdzv-backend c10d \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first_node:29500" "$script" "$@" &
run=$!

stopped=0
stop() {
    stopped=1
    # To all processes of the step, once.
    scancel --signal=TERM "$SLURM_JOB_ID.0"
}
trap stop TERM

# `wait` ends when the signal comes; the second one is for the checkpoint.
status=0
wait "$run" || status=$?
if [ "$stopped" = 1 ]; then
    status=0
    wait "$run" || status=$?
    if [ "$status" != 0 ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
fi
exit "$status"
