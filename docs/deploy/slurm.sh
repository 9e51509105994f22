#!/bin/bash
# One run over the machines of a Slurm job: a Ray node on each, the run on the first.
#
#   sbatch docs/deploy/slurm.sh games=werewolf n=4000 model=qwen3-8b
#
# Submit it again with the same run_dir and it goes on where it was; without run_dir=… that is
# results/<job name> on the file system that you submit from, which all nodes must see.
#SBATCH --job-name=werewolf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=B:INT@300
set -euo pipefail

# The environment with `runner` in it, the same path on every node:
# source /shared/venv/bin/activate

gpus=${SLURM_GPUS_PER_NODE:-8}
gpus=${gpus##*:}                                # of "h100:8"
cpus=${SLURM_CPUS_PER_TASK:-32}
port=$((20000 + SLURM_JOB_ID % 10000))          # other jobs on these machines have their own
results=$PWD/results/$SLURM_JOB_NAME
scratch=$PWD/.ray-$SLURM_JOB_ID                 # on the shared file system
mkdir -p "$scratch"

# A token, for this job alone, in a file that only its owner can read: whoever has it can run code
# on these machines.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$scratch/token
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' > "$RAY_AUTH_TOKEN_PATH")

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | awk '{print $1}'):$port

pids=()
leave() {                                       # ends the nodes; `ray stop` would end others' too
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
    rm -rf "$scratch"
}
trap leave EXIT

on() {                                          # on NODE COMMAND…, in the background
    srun --nodes=1 --ntasks=1 --overlap --nodelist="$1" "${@:2}" &
    pids+=($!)
}
ray_node=(--num-gpus="$gpus" --num-cpus="$cpus" --disable-usage-stats --block)

on "$head" ray start --head --node-ip-address="${address%:*}" --port="$port" \
    --include-dashboard=false "${ray_node[@]}"
for node in "${nodes[@]:1}"; do
    on "$node" ray start --address="$address" "${ray_node[@]}"
done

# A model over several nodes needs them all from the start; others would be joined by and by.
waited=0
until [ "$(ray status --address="$address" 2>/dev/null | grep -c ' node_')" -ge "${#nodes[@]}" ]; do
    for pid in "${pids[@]}"; do
        kill -0 "$pid" 2>/dev/null || { echo "A Ray node ended while others started." >&2; exit 1; }
    done
    if ((waited++ > 120)); then
        echo "Ray nodes at $address are still not complete after four minutes." >&2
        exit 1
    fi
    sleep 2
done

# In the background, so that the signal which Slurm sends before the time is up (--signal above)
# reaches us at once. The run stops as after two Ctrl-C and can be continued.
python -m runner "run_dir=$results" "$@" cluster.address="$address" &
run=$!
trap 'kill -TERM $run' INT TERM
code=0
wait $run || code=$?
while kill -0 $run 2>/dev/null; do wait $run || code=$?; done
exit $code
