"""recipes/launch.slurm on two nodes that are process groups of this machine, under stand-ins for srun and scontrol.

The stand-in for `accelerate` notes how it was called and "trains" by counting steps in a file of the folder that the
nodes share; that a recipe goes on from its checkpoint is what test_resume.py runs.
"""

import os
import signal
import subprocess
import time

import pytest
from conftest import ROOT

SCRIPT = "recipes/launch.slurm"
STANDINS = {
    # begins the command on each node, as srun does: in a session of its own, with the node's number
    "srun": """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
pids=()
for ((node = 0; node < SLURM_NNODES; node++)); do
  SLURM_NODEID=$node setsid "$@" &
  pids+=($!)
  echo $! >> "$SHARED/steps"
done
code=0
for _ in "${pids[@]}"; do wait -n || { code=$?; kill -KILL -- "${pids[@]/#/-}" 2> /dev/null; break; }; done
exit $code
""",
    # a job that is queued again loses its processes, the batch script included
    "scontrol": """#!/bin/bash
if [[ $1 == show ]]; then printf 'node-a\\nnode-b\\n'; exit; fi
[[ $1 == requeue && $2 == 4711 ]] || exit 1
echo "$*" >> "$SHARED/requeued"
for pid in $(cat "$SHARED/steps"); do kill -KILL -- -$pid 2> /dev/null; done
kill -KILL $PPID
""",
    "accelerate": """#!/bin/bash
echo "$*" >> "$SHARED/called-$SLURM_NODEID"
step=$(cat "$SHARED/step" 2> /dev/null || echo 0)
if ((SLURM_NODEID == FAILS)); then exit 3; fi
while ((step < 8)); do
  sleep 0.2
  step=$((step + 1))
  if ((SLURM_NODEID == 0)); then echo $step > "$SHARED/.step" && mv "$SHARED/.step" "$SHARED/step"; fi
done
if ((SLURM_NODEID == 0)); then echo done > "$SHARED/model.safetensors"; fi
""",
}


@pytest.fixture
def cluster(tmp_path):
    """Starts the script as Slurm does; its folder is what the nodes share."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in STANDINS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    recipe = ROOT / "recipes/qwen3-0.6b/sft.yaml"

    def start(*arguments: str, fails: int = -1, **environment):
        job = {"SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_ID": "4711", "SLURM_NNODES": "2", "VIRTUAL_ENV": "here"}
        job |= {"SLURM_GPUS_ON_NODE": "8", "SLURM_JOB_NODELIST": "node-[a-b]", "FAILS": str(fails)}
        job |= {"SHARED": str(tmp_path), "PATH": f"{folder}:{os.environ['PATH']}"}
        given = arguments or ("recipes.sft", str(recipe), "accelerate_configs/multinode.yaml", "--max_steps", "8")
        command = ["bash", str(ROOT / SCRIPT), *given]
        out = subprocess.PIPE
        return subprocess.Popen(command, env=os.environ | job | environment, stdout=out, stderr=out, text=True)

    start.folder = tmp_path
    return start


def test_each_node_starts_its_launcher_with_its_rank(cluster):
    job = cluster()
    told, _ = job.communicate()
    assert job.returncode == 0 and "recipes.sft" in told and "2 × 8 GPUs, head node-a" in told
    assert (cluster.folder / "model.safetensors").exists()
    for rank in (0, 1):
        (called,) = (cluster.folder / f"called-{rank}").read_text().splitlines()
        assert f"--machine_rank {rank} " in called and "--num_machines 2 --num_processes 16" in called
        assert "--main_process_ip node-a --main_process_port 24711" in called and called.endswith("--max_steps 8")


def test_a_job_that_is_preempted_is_queued_again_and_ends_in_a_model(cluster):
    job = cluster()
    while not (cluster.folder / "step").exists():
        assert job.poll() is None
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    told, _ = job.communicate()
    done = int((cluster.folder / "step").read_text())
    assert "time is nearly up: queued again" in told and job.returncode == -signal.SIGKILL
    assert 0 < done < 8 and not (cluster.folder / "model.safetensors").exists()
    assert (cluster.folder / "requeued").read_text() == "requeue 4711\n"
    again = cluster(SLURM_RESTART_COUNT="1")
    told, _ = again.communicate()
    assert again.returncode == 0 and "restart 1" in told and (cluster.folder / "model.safetensors").exists()
    assert int((cluster.folder / "step").read_text()) == 8


def test_a_node_that_fails_ends_the_others_with_its_code(cluster):
    job = cluster(fails=1)
    told, _ = job.communicate()
    assert job.returncode == 3 and "ended with exit code 3" in told
    assert not (cluster.folder / "model.safetensors").exists()


@pytest.mark.parametrize(
    "arguments, environment, message",
    [
        (("recipes.sft",), {}, "usage: sbatch"),
        (("recipes.none", "x.yaml", "y.yaml"), {}, "no module recipes.none here"),
        (("recipes.sft", "x.yaml", "y.yaml"), {}, "recipe x.yaml does not exist"),
        ((), {"SLURM_GPUS_ON_NODE": "0"}, "the job has no GPUs"),
        (
            ("recipes.sft", "recipes/tiny/sft.yaml", "accelerate_configs/single_gpu.yaml"),
            {},
            "starts one process, but the job has 16 GPUs",
        ),
    ],
)
def test_what_cannot_run_is_said_before_any_node_starts(cluster, arguments, environment, message):
    job = cluster(*arguments, **environment)
    _, told = job.communicate()
    assert job.returncode == 2 and message in told and not (cluster.folder / "steps").exists()
