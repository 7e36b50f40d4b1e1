"""What test_sharding.py launches: each stage, then the same stage again from its first checkpoint.

    accelerate launch --config_file accelerate_configs/zero3.yaml --num_processes 2 \\
        tests/helpers/sharded_stages.py stages.json

`stages.json` holds [[module, argv, folder], ...]; beside it `results.json` gets, for each run, what its error was and
of what classes the model and its weights were when they were trained. accelerate has FSDP for devices alone, so its
state is told here that the processes of a CPU are such; what runs then is accelerate's, PyTorch's and the recipes' own
code. DeepSpeed needs no such help.
"""

import importlib
import json
import os
import shutil
import sys
import traceback
from pathlib import Path

import torch.distributed as dist
from accelerate import state
from accelerate.utils import DistributedType
from transformers import Trainer

from recipes.training import setup


def spread_on_cpu() -> None:
    """accelerate's state says FSDP where it was asked for, though the processes are of a CPU."""
    begin = state.AcceleratorState.__init__

    def begin_spread(self, *args, fsdp_plugin=None, **kwargs):
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    state.AcceleratorState.__init__ = begin_spread
    setup.require_sharding = lambda training_args: None


def trained_classes(model) -> set[str]:
    """The model's class, those of its weights, and `sharded` where this process does not hold them whole."""
    weights = list(model.parameters())
    split = [weight for weight in weights if getattr(weight, "ds_status", None) is not None or is_dtensor(weight)]
    return {type(model).__name__, "sharded weights" if split else "whole weights"}


def is_dtensor(weight) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(weight.data, DTensor)


def run(module: str, argv: list[str]) -> dict:
    """`error`: what the stage ended with, empty where it finished; `trained`: see `trained_classes`."""
    step, seen, error = Trainer.training_step, set(), ""

    def watched(self, model, *args, **kwargs):
        seen.update(trained_classes(model))
        return step(self, model, *args, **kwargs)

    Trainer.training_step = watched
    try:
        importlib.import_module(module).main(argv)
    except SystemExit as stop:
        error = f"exit {stop.code}"
    except Exception:
        error = traceback.format_exc()
        print(error, flush=True)
    finally:
        Trainer.training_step = step
    if dist.is_initialized():
        dist.barrier()
    return {"error": error, "trained": sorted(seen)}


if os.environ.get("ACCELERATE_USE_FSDP") == "true":
    spread_on_cpu()
results, rank = {}, int(os.environ.get("RANK", "0"))
for module, argv, folder in json.loads(Path(sys.argv[1]).read_text()):
    whole, again = Path(folder), Path(f"{folder}_again")
    name = whole.name
    results[name] = run(module, argv)
    if results[name]["error"]:
        continue
    if rank == 0:
        shutil.copytree(whole / "checkpoint-1", again / "checkpoint-1")
    if dist.is_initialized():
        dist.barrier()
    results[again.name] = run(module, [*argv, "--output_dir", str(again)])
if rank == 0:
    Path(sys.argv[1]).with_name("results.json").write_text(json.dumps(results, indent=1))
if dist.is_initialized():
    dist.destroy_process_group()
