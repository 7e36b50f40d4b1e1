"""A run goes on from its newest whole checkpoint, wherever the writing of a newer one was cut off."""

import checkpoints
import pytest

from recipes.training.stage import last_complete_checkpoint

STATE, MODEL, SHARD = "trainer_state.json", "model.safetensors", "model-00002-of-00002.safetensors"
CUT = [  # file, the share of it that is left (None: none of it), what the checkpoint is of
    (STATE, None, {}),
    (STATE, 0.5, {}),
    (STATE, 0.0, {}),
    (MODEL, None, {}),
    (MODEL, 0.5, {}),
    (MODEL, 0.999, {}),
    (MODEL, 0.0, {}),
    ("config.json", None, {}),
    ("optimizer.pt", None, {}),
    ("optimizer.pt", 0.5, {}),
    ("optimizer.pt", 0.0, {}),
    ("scheduler.pt", None, {}),
    ("scheduler.pt", 0.5, {}),
    ("rng_state.pth", 0.5, {}),
    ("rng_state_1.pth", None, {"processes": 2}),
    ("rng_state_1.pth", 0.5, {"processes": 2}),
    (SHARD, None, {"shards": True}),
    (SHARD, 0.5, {"shards": True}),
    ("model.safetensors.index.json", None, {"shards": True}),
    ("model.safetensors.index.json", 0.5, {"shards": True}),
    ("adapter_model.safetensors", 0.5, {"adapter": True}),
    ("adapter_config.json", None, {"adapter": True}),
    ("value_model/model.safetensors", 0.5, {}),
]


def last(folder) -> str | None:
    found = last_complete_checkpoint(folder)
    return found and found.name


@pytest.mark.parametrize("name, left, kind", CUT)
def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path, name, left, kind):
    for number in (9, 10):
        checkpoints.write(tmp_path / f"checkpoint-{number}", **kind)
    if "/" in name:
        checkpoints.write(tmp_path / "of-1")
        (tmp_path / "of-1").rename(tmp_path / "checkpoint-10/value_model")
    assert last(tmp_path) == "checkpoint-10"
    path = tmp_path / "checkpoint-10" / name
    content = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(content[: int(left * len(content))])
    assert last(tmp_path) == "checkpoint-9"


@pytest.mark.parametrize("state", [b"null", b"[]", b"{}", b"\0" * 90, b"\xff\xfe"])
def test_a_state_that_is_none(tmp_path, state):
    checkpoints.write(tmp_path / "checkpoint-2")
    (tmp_path / "checkpoint-2" / STATE).write_bytes(state)
    assert last(tmp_path) is None


def test_the_rest_of_a_checkpoint_that_is_being_deleted(tmp_path):
    checkpoints.write(tmp_path / "checkpoint-2")
    for path in (tmp_path / "checkpoint-2").iterdir():
        if path.name != STATE:
            path.unlink()
    assert last(tmp_path) is None


def test_what_is_no_checkpoint(tmp_path):
    checkpoints.write(tmp_path / "checkpoint-2")
    for name in ("checkpoint-best", "checkpoint-3 (copy)", "checkpoint-²", "tmp-checkpoint-4"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-5").write_text("x")
    (tmp_path / "checkpoint-6" / STATE).mkdir(parents=True)
    assert last(tmp_path) == "checkpoint-2"
    assert last(tmp_path / "nothing") is None
