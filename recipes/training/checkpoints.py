"""Which of a stage's checkpoints is whole, so that a killed run goes on from it: `last_complete_checkpoint(folder)`.

`trainer_state.json` is what a checkpoint writes last. What stands beside it can be cut off all the same: by a full
disk, a machine that lost power, or a copy that was not finished.
"""

import json
import re
import zipfile
from pathlib import Path

_SHARD = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")
_SHARDED = ("pytorch_model*", "global_step*")  # FSDP's and DeepSpeed's weights, which are theirs to check
_OPTIMIZER = ("optimizer*", "global_step*")  # Trainer's and FSDP's, DeepSpeed's


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest `checkpoint-N` whose writing was not cut off."""
    numbered = {}
    for path in folder.glob("checkpoint-*"):
        number = re.fullmatch("checkpoint-([0-9]+)", path.name)
        if number:
            numbered[path] = int(number[1])
    newest_first = sorted(numbered, key=lambda path: -numbered[path])
    return next((path for path in newest_first if is_complete(path)), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint can be loaded: its state, weights, optimizer and random states are there, and whole."""
    try:
        return _has_state(checkpoint) and _has_weights(checkpoint) and _has_optimizer(checkpoint)
    except OSError:
        return False


def _has_state(checkpoint: Path) -> bool:
    """Whether the trainer's state is there, and of several processes each one's random state."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text())
    except ValueError:
        return False
    of_ranks = list(checkpoint.glob("rng_state_*.pth"))
    return isinstance(state, dict) and "global_step" in state and len(of_ranks) != 1


def _has_weights(checkpoint: Path) -> bool:
    """Whether all weights are there and whole: those of a model or an adapter with its config, and PPO's critic's."""
    weights = list(checkpoint.rglob("*.safetensors"))
    if not all(map(_is_whole, weights)):
        return False
    if not all(map(_has_its_shards, checkpoint.rglob("*.safetensors.index.json"))):
        return False
    names = {path.name for path in weights if path.parent == checkpoint}
    if not names:
        return _holds(checkpoint, _SHARDED)
    if any(map(_SHARD.search, names)) and not any(checkpoint.glob("*.safetensors.index.json")):
        return False
    return any((checkpoint / name).exists() for name in ("config.json", "adapter_config.json"))


def _has_optimizer(checkpoint: Path) -> bool:
    """Whether the optimizer and the learning rate's schedule are there, or neither is, and what torch saved is whole:
    Trainer begins with new ones where one is missing, and says nothing.
    """
    saved = [path for pattern in ("*.pt", "*.pth") for path in checkpoint.glob(pattern)]
    if not all(map(zipfile.is_zipfile, saved)):
        return False
    return _holds(checkpoint, _OPTIMIZER) == _holds(checkpoint, ("scheduler.pt", "global_step*"))


def _holds(checkpoint: Path, patterns: tuple[str, ...]) -> bool:
    return any(any(checkpoint.glob(pattern)) for pattern in patterns)


def _is_whole(weights: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "pt"):  # reads the header, and compares it with the file's length
            return True
    except (SafetensorError, OSError):
        return False


def _has_its_shards(index: Path) -> bool:
    try:
        files = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return all((index.parent / name).exists() for name in files)
