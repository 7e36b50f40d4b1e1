"""The time left that a pipeline prints: recorded runs played back, and how a step says how far it is."""

import json
import os
import subprocess
import sys
import time

import pytest
import yaml
from conftest import ROOT, SIZES

from eval.shared.progress_file import VARIABLE, ShareDone
from recipes.pipeline.time_left import Running, Watch, extrapolate, read_share, seconds_left, whole_seconds

RECORDED = {  # seconds of the steps of recipes/tiny/pipeline.yaml, from the first to the last
    "bf16": [2, 10, 3, 5, 2, 251, 75, 0, 35, 12, 285, 5, 27, 2, 47, 4, 154, 19, 11, 16, 2],
    "float32": [4, 18, 6, 8, 3, 725, 156, 1, 50, 20, 582, 9, 86, 4, 95, 6, 463, 132, 33, 44, 3],
}
PRIORS = {  # the `seconds` that both are played back from
    **{"world": 3, "web": 12, "tokenizer": 4, "tokens": 5, "decontaminate": 2, "base": 250, "sft": 76, "index": 1},
    **{"refusals": 34, "conversations": 12, "honest": 290, "preferences": 5, "reward": 27, "pairs": 2, "ppo": 45},
    **{"judge": 4, "grpo": 150, "eval": 20, "eval_honest": 11, "tools": 17, "report": 2},
}
# of the float32 run, `eval` took 6.6 times its prior, and nothing before it more than 3.2: known when it has begun
SURPRISE = ("float32", "eval")


@pytest.fixture(scope="module")
def steps() -> list[dict]:
    pipeline = yaml.safe_load((ROOT / "recipes/tiny/pipeline.yaml").read_text())
    steps = [{**step, "seconds": PRIORS[step["name"]]} for step in pipeline["steps"] if step["name"] in PRIORS]
    assert [step["name"] for step in steps] == list(PRIORS)
    return steps


def at(seconds: float, run: list[int], names: list[str]) -> tuple[dict, Running]:
    """The steps finished after so many seconds of a recorded run, and the one at work, which began 3 s late."""
    finished = {}
    for name, took in zip(names, run):
        if seconds < took:
            share = max(0.0, seconds - 3) / (took - 3) if took > 3 else 0.0
            known = {"share": share, "whole": took, "left": took - seconds} if share else {}
            return finished, Running(name, seconds, **known)
        finished[name] = took
        seconds -= took
    raise AssertionError("the run is over")


@pytest.mark.parametrize("name", RECORDED)
def test_at_one_third_of_a_run_the_time_left_is_true_within_a_fifth(name, steps):
    run = RECORDED[name]
    left = seconds_left(steps, *at(sum(run) / 3, run, list(PRIORS)))
    assert abs(left - sum(run) * 2 / 3) <= 0.2 * sum(run) * 2 / 3


@pytest.mark.parametrize("name", RECORDED)
def test_at_each_later_step_it_is_true_within_15_percent_or_ten_seconds(name, steps):
    run, names, asserted = RECORDED[name], list(PRIORS), 0
    for number, step in enumerate(names):
        begun = sum(run[:number])
        if begun < sum(run) / 3:
            continue
        finished = dict(zip(names[:number], run))
        left, true = seconds_left(steps, finished, Running(step, 0.0)), sum(run[number:])
        if (name, step) == SURPRISE:
            left, true = seconds_left(steps, *at(begun + run[number] / 10, run, names)), true - run[number] / 10
        assert abs(left - true) <= max(0.15 * true, 10), f"{step}: {left:.0f} s printed, {true} s in truth"
        asserted += 1
    assert asserted == 14


@pytest.mark.parametrize("name", RECORDED)
def test_a_tenth_of_the_first_long_step_tells_the_machine(name, steps):
    run, names = RECORDED[name], list(PRIORS)
    seconds = sum(run[:5]) + run[5] / 10
    left, true = seconds_left(steps, *at(seconds, run, names)), sum(run) - seconds
    assert abs(left - true) <= 0.15 * true


def test_a_step_at_work_is_extrapolated_without_its_start_up():
    said = {"first_share": 0.0, "first_at": 110.0, "share": 0.25, "at": 150.0}
    assert extrapolate("base", said, start=100.0, now=152.0) == Running("base", 52.0, 0.0, 0.25, 170.0, 118.0)
    assert whole_seconds(said | {"share": 1.0, "at": 270.0}, 100.0, 275.0) == 175.0
    assert extrapolate("base", None, 100.0, 152.0) == Running("base", 52.0)
    assert whole_seconds(None, 100.0, 275.0) == 175.0


def test_a_resumed_step_counts_as_if_it_had_not_been_killed(steps):
    """Killed at 80 %: what is left is a fifth of it, and its pace is that of a whole step."""
    said = {"first_share": 0.8, "first_at": 110.0, "share": 1.0, "at": 160.0}
    assert whole_seconds(said, 100.0, 165.0) == pytest.approx(10 + 250 + 5)
    finished = dict(zip(PRIORS, RECORDED["bf16"][:5]))
    fresh, resumed = (seconds_left(steps, finished, Running("base", 0.0, first_share=share)) for share in (0.0, 0.8))
    assert fresh - resumed == pytest.approx(0.8 * 250, rel=0.2)
    # killed behind its last step: 3 s that say nothing of a whole one
    over = {"first_share": 1.0, "first_at": 102.0, "share": 1.0, "at": 102.0}
    assert whole_seconds(over, 100.0, 103.0) is None
    rest = sum(list(PRIORS.values())[6:])
    assert seconds_left(steps, finished | {"base": None}, Running("sft", 0.0)) == pytest.approx(rest, rel=0.25)


def test_a_pipeline_with_the_required_keys_alone():
    steps = [{"name": name, "module": "json.tool", "seconds": 10} for name in "abcd"]
    assert seconds_left(steps, {}) == 40
    assert seconds_left(steps, {"a": 30.0, "b": 30.0}, Running("c", 5.0)) == pytest.approx(2 * 30 - 5, rel=0.15)
    assert seconds_left(steps, {name: 0.0 for name in "abcd"}) == 0


def test_a_line_each_tenth_but_not_more_often_than_each_30_seconds(tmp_path, capsys):
    path, now = tmp_path / "base.share", time.monotonic()
    watch = Watch([{"name": "base", "module": "recipes.pretrain", "seconds": 100}], {}, "base", path, now - 60)

    def said(share: float) -> str:
        path.write_text(json.dumps({"first_share": 0.0, "first_at": now - 50, "share": share, "at": now}))
        watch()
        return capsys.readouterr().out

    watch()  # before its first word
    assert said(0.05) == ""
    assert said(0.25) == "\n── base 25% · about 150 s left\n"
    assert said(0.4) == ""  # 30 seconds have not passed
    watch.said_at -= 40
    assert said(0.34) == "" and said(0.5).startswith("\n── base 50% · about 50 s left")


def test_a_step_says_its_share_to_the_file_that_it_is_given(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    ShareDone()(0.5)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "step.share"))
    said = ShareDone()
    said(0.5)
    said(0.6)  # within the same second: not written
    assert read_share(tmp_path / "step.share")["share"] == 0.5
    said(1.0)
    word = read_share(tmp_path / "step.share")
    assert (word["first_share"], word["share"]) == (0.5, 1.0) and word["first_at"] <= word["at"]
    assert [path.name for path in tmp_path.iterdir()] == ["step.share"]


def test_the_runner_prints_it_while_a_step_runs_and_keeps_it_in_the_marker(tmp_path):
    """Two steps of a module that says how far it is; the first one's seconds foretell the second's."""
    (tmp_path / "steady.py").write_text(
        "import time\n"
        "from eval.shared.progress_file import ShareDone\n"
        "def main(argv):\n"
        "    said = ShareDone()\n"
        "    for tenth in range(11):\n"
        "        said(tenth / 10)\n"
        "        time.sleep(0.5)\n"
    )
    steps = [{"name": name, "module": "steady", "seconds": 60, "seeded": False} for name in ("one", "two")]
    pipeline = {"recipe": "steady", "output_dir": str(tmp_path / "run"), "steps": steps}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    code = "import recipes.pipeline.time_left, recipes.run; recipes.pipeline.time_left.EVERY = 1; recipes.run.main()"
    command = [sys.executable, "-c", code, str(tmp_path / "pipeline.yaml")]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    heads = [line for line in run.stdout.splitlines() if line.startswith("━━ [")]
    assert heads[0].endswith("one · 0 s so far · about 120 s left")
    assert float(heads[1].split("about ")[1].split(" s")[0]) < 60
    within = [line for line in run.stdout.splitlines() if line.startswith("── ")]
    assert {line.split()[1] for line in within} == {"one", "two"} and all(line.endswith(" s left") for line in within)
    marker = json.loads((tmp_path / "run/steps/one.json").read_text())
    assert marker["whole_seconds"] == pytest.approx(marker["seconds"], abs=0.1)
    assert not list((tmp_path / "run/steps").glob("*.share"))


def test_a_stage_says_how_far_it_is_and_goes_on_from_there(tmp_path, tokens_dir, tokenizer_dir, monkeypatch):
    """Four steps, then four more from their checkpoint: the second process begins at one half."""
    from recipes.pretrain import main

    model = {"model_type": "llama", "tie_word_embeddings": True, **SIZES["llama"]}
    argv = ["--model_config", json.dumps(model), "--tokenizer", tokenizer_dir, "--tokens_dir", tokens_dir]
    argv += ["--sequence_length", 32, "--per_device_train_batch_size", 2, "--save_steps", 4, "--report_to", "none"]
    argv += ["--output_dir", tmp_path / "base", "--max_eval_windows", 2]
    words = []
    for steps in (4, 8, 8):
        monkeypatch.setenv(VARIABLE, str(tmp_path / f"{len(words)}.share"))
        main([*map(str, argv), "--max_steps", str(steps)])
        words.append(read_share(tmp_path / f"{len(words)}.share"))
        if steps == 4:
            (tmp_path / "base/stage.json").unlink()  # as if it had been killed
    assert [(word["first_share"], word["share"]) for word in words] == [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0)]
