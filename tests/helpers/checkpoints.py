"""Checkpoints as Trainer writes them, of a model of a few numbers: `write(folder / "checkpoint-2")`."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

WEIGHTS = {"first": torch.zeros(300), "second": torch.ones(100)}


def write(checkpoint: Path, processes: int = 1, adapter: bool = False, shards: bool = False) -> None:
    """Write a whole checkpoint."""
    checkpoint.mkdir(parents=True)
    if shards:
        files = {name: f"model-0000{i}-of-00002.safetensors" for i, name in enumerate(WEIGHTS, 1)}
        for name, file in files.items():
            save_file({name: WEIGHTS[name]}, checkpoint / file)
        (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    else:
        save_file(WEIGHTS, checkpoint / ("adapter_model.safetensors" if adapter else "model.safetensors"))
    (checkpoint / ("adapter_config.json" if adapter else "config.json")).write_text("{}")
    ranks = ["rng_state.pth"] if processes == 1 else [f"rng_state_{i}.pth" for i in range(processes)]
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", *ranks):
        torch.save({"state": torch.zeros(100)}, checkpoint / name)
    state = {"global_step": int(checkpoint.name.split("-")[1]), "max_steps": 99, "log_history": []}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
