"""The watch over PPO and GRPO: what it measures, when it stops a run, and what it keeps."""

import importlib
import json
import re
import signal
from pathlib import Path

import forks
import pytest
import yaml
from conftest import rows
from safetensors.torch import load_file

from eval.cli import UserError

BASE = {
    "save_steps": 2,
    "save_total_limit": 1,
    "logging_steps": 1,
    "use_cpu": True,
    "bf16": False,
    "seed": 3,
    "learning_rate": 0.003,
}


def shorter(row: dict, text: str) -> float:
    """A judge that likes short replies."""
    return -float(len(text))


def nothing(row: dict, text: str) -> float:
    return 0.0


@pytest.fixture
def config(world, chat_model, reward_model, tmp_path):
    def make(stage: str, **settings) -> Path:
        watching = {"monitor_steps": 1, "monitor_samples": 2, "judge": "test_monitor:shorter"}
        own = {
            "ppo": {
                "reward_model_path": str(reward_model),
                "datasets": [{"path": str(world / "verses/train.jsonl")}],
                "monitor_datasets": [{"path": str(world / "verses/validation.jsonl")}],
                "total_episodes": 48,
                "per_device_train_batch_size": 8,
                "local_rollout_forward_batch_size": 8,
                "response_length": 6,
            },
            "grpo": {
                "datasets": [{"path": str(world / "problems/train.jsonl")}],
                "monitor_datasets": [{"path": str(world / "problems/validation.jsonl")}],
                "max_steps": 5,
                "per_device_train_batch_size": 16,
                "num_generations": 4,
                "max_completion_length": 6,
                "entropy_coef": 0.1,  # random replies earn nothing
            },
        }
        shared = {key: own["ppo"][key] for key in ("reward_model_path", "datasets", "monitor_datasets")}
        drawn = {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6}
        own = (own | {"rloo": shared | drawn | {"max_steps": 5}})[stage]
        path = tmp_path / f"{stage}.yaml"
        path.write_text(yaml.safe_dump(BASE | {"model_name_or_path": str(chat_model)} | own | watching | settings))
        return path

    return make


def run(stage: str, config: Path, out: Path) -> list[dict]:
    importlib.import_module(f"recipes.{stage}").main(["--config", str(config), "--output_dir", str(out)])
    return rows(out / "monitor.jsonl")


def looks(*judged: list[float], rewards: list[float], kl: list[float] | None = None) -> list[dict]:
    from recipes.training.monitor import mean

    return [
        {
            "step": i,
            "judged": list(j),
            "judge": mean(list(j)),
            "reward": {"value": r},
            "kl": {"value": (kl or [0.0] * len(rewards))[i]},
        }
        for i, (j, r) in enumerate(zip(judged, rewards))
    ]


def decided(told: list[dict], **settings) -> list[str | None]:
    """What the rule says after each look."""
    from recipes.training.monitor import Monitor, MonitorArguments

    monitor = Monitor.__new__(Monitor)
    monitor.args = MonitorArguments(monitor_datasets=[{"path": "x"}], monitor_steps=1, judge="refusal", **settings)
    monitor.judge, monitor.looks, out = object(), [], []
    for look in told:
        monitor.looks.append(look)
        out.append(monitor.decide())
    return out


def test_the_rule_stops_where_the_judge_falls_and_the_reward_does_not():
    up, best, down = [0.0, 0.1, 0.2, 0.1], [1.0, 1.1, 1.2, 1.1], [0.5, 0.6, 0.6, 0.6]
    told = looks(up, best, down, down, rewards=[0, 1, 2, 3])
    assert [bool(why) for why in decided(told, stop_patience=2)] == [False, False, False, True]
    assert [bool(why) for why in decided(told, stop_patience=1)] == [False, False, True, True]
    assert (
        "from 1.100 (step 1) to 0.575 while the reward went from 1.000 to 3.000" in decided(told, stop_patience=2)[-1]
    )
    assert not any(decided(told, stop_patience=3)) and not any(decided(told, max_kl=5.0))
    assert not any(
        decided(looks(up, best, down, down, rewards=[0, 1, 0.5, 0.4]), stop_patience=2)
    )  # the reward fell, too: no gaming
    assert decided(looks(up, best, down, down, rewards=[0, 1, 0.97, 0.98]), stop_patience=2)[
        -1
    ]  # a reward that has levelled off
    assert not any(
        decided(looks(up, best, down, best, down, rewards=[0, 1, 2, 3, 4]), stop_patience=2)
    )  # not in a row
    noisy = [2.0, 0.2, 2.3, -0.5]
    assert not any(decided(looks(up, best, noisy, noisy, rewards=[0, 1, 2, 3]), stop_patience=2))  # within chance


def test_the_rule_stops_beyond_its_budget_of_kl():
    told = looks([0.0, 0.0], [1.0, 1.0], [2.0, 2.0], rewards=[0, 1, 2], kl=[0.0, 3.0, 9.0])
    why = decided(told, max_kl=5.0)
    assert why[:2] == [None, None] and "KL 9.00 nats is beyond max_kl 5" in why[2]


@pytest.mark.parametrize("stage", ["ppo", "grpo", "rloo"])
def test_a_line_a_look(stage, config, tmp_path):
    told = run(stage, config(stage, monitor_steps=2), tmp_path / "run")
    assert [line["step"] for line in told] == ([0, 2, 4, 6] if stage == "ppo" else [0, 2, 4, 5])
    held_out = len(rows(Path(yaml.safe_load((tmp_path / f"{stage}.yaml").read_text())["monitor_datasets"][0]["path"])))
    for line in told:
        for name in ("reward", "judge", "kl", "entropy", "length", "repeated"):
            assert line[name]["n"] == held_out, name
        assert (
            -6 * 20 <= line["judge"]["value"] <= 0
            and 0 < line["length"]["value"] <= 6
            and 0 <= line["repeated"]["value"] <= 1
        )
        assert len(line["winners"]) == min(5, 2 * held_out) and set(line["winners"][0]) == {
            "prompt",
            "text",
            "reward",
            "judge",
        }
    assert told[0]["kl"]["value"] == pytest.approx(0, abs=1e-4)
    assert abs(told[-1]["kl"]["value"]) > 1e-4  # an estimate from few samples: it may fall below 0
    assert "decision" not in told[-1] and not list((tmp_path / "run").glob("best-*"))


def test_watching_changes_nothing(config, tmp_path):
    from test_resume import same, weights

    run("grpo", config("grpo"), tmp_path / "watched")
    plain = config("grpo", monitor_steps=0, monitor_datasets=None, judge=None)
    importlib.import_module("recipes.grpo").main(["--config", str(plain), "--output_dir", str(tmp_path / "plain")])
    assert same(weights(tmp_path / "watched"), weights(tmp_path / "plain"))


@pytest.fixture
def falling(monkeypatch):
    """The judge's scores are given: they rise once and fall ever after, while the reward stays."""
    from recipes.training.monitor import Monitor

    true_look, count = Monitor.look, []

    def look(self, policy):
        prompts = true_look(self, policy)
        count.append(1)
        for number, prompt in enumerate(prompts):
            prompt["means"] |= {
                "judge": {1: 0.0, 2: 1.0}.get(len(count), 0.5 - len(count)) + number / 1000,
                "reward": 1.0,
            }
        return prompts

    monkeypatch.setattr(Monitor, "look", look)


@pytest.mark.parametrize("stage", ["ppo", "grpo", "rloo"])
def test_a_run_stops_and_keeps_the_best_model(stage, config, tmp_path, falling):
    from test_resume import same, weights

    told = run(stage, config(stage, stop_patience=2), tmp_path / "run")
    assert [line["step"] for line in told] == [0, 1, 2, 3]
    assert "stopped at step 3: the judge fell" in told[-1]["decision"] and told[-1]["decision"].endswith("kept step 1")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "run" / "best-1"))
    assert json.loads((tmp_path / "run" / "stage.json").read_text())["steps"] == 3
    first = {p.name for p in (tmp_path / "run").glob("best-*")}
    assert first <= {"best-0", "best-1"} and "best-1" in first


def test_a_run_that_ends_past_its_best_keeps_that_and_says_so(config, tmp_path, falling):
    from test_resume import same, weights

    told = run("grpo", config("grpo", stop_patience=9, max_steps=3), tmp_path / "run")
    assert [line.get("decision") for line in told] == [None, None, None, "ended at step 3, past its best; kept step 1"]
    assert same(weights(tmp_path / "run"), weights(tmp_path / "run" / "best-1"))


def test_looks_are_read_again(tmp_path):
    """Whatever stands in a winner's text; and a run that was killed between the decision and its end trains no
    further."""
    from types import SimpleNamespace

    from recipes.training.monitor import Monitor, MonitorArguments

    monitor = Monitor.__new__(Monitor)
    monitor.args, monitor.folder, monitor.path, monitor.judge = (
        MonitorArguments(monitor_datasets=[{"path": "x"}], monitor_steps=1, max_kl=1.0),
        tmp_path,
        tmp_path / "monitor.jsonl",
        None,
    )
    monitor.stops = True
    told = [
        {"step": step, "kl": {"value": kl}, "winners": [{"text": "a\u2028b\u0085c"}]}
        for step, kl in ((0, 0.0), (2, 3.0))
    ]
    told[-1]["decision"] = "stopped"
    monitor.path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in told))
    state, control = (
        SimpleNamespace(global_step=2, is_world_process_zero=True),
        SimpleNamespace(should_training_stop=False),
    )
    with pytest.raises(UserError, match="best look .step 0.*leave them out"):
        monitor.on_train_begin(None, state, control)
    (tmp_path / "best-0").mkdir()
    monitor.on_train_begin(None, state, control)
    assert monitor.looks == told and control.should_training_stop


@pytest.mark.parametrize("stage, once", [("ppo", {"total_episodes": 8}), ("rloo", {"max_steps": 1})])
def test_the_reward_is_what_is_trained_on(config, tmp_path, stage, once):
    """A reply that does not end costs `missing_eos_penalty` there, too."""
    looks = [
        run(stage, config(stage, missing_eos_penalty=penalty, **once), tmp_path / str(penalty))[0]
        for penalty in (1.0, 101.0)
    ]
    found = [look["reward"]["value"] for look in looks]
    assert 50 < found[0] - found[1] <= 100 + 1e-3  # most replies of 6 tokens are cut


@pytest.mark.ppo
def test_a_reward_model_or_a_verifier_may_judge(config, reward_model, tmp_path):
    """Given the reward itself as a judge, both say the same."""
    for stage, settings in (
        ("ppo", {"judge": str(reward_model), "missing_eos_penalty": None, "total_episodes": 8}),
        ("grpo", {"judge": "by_row", "max_steps": 1}),
    ):
        for line in run(stage, config(stage, **settings), tmp_path / stage):
            assert line["judge"]["value"] == pytest.approx(line["reward"]["value"], abs=1e-4)
            assert stage == "grpo" or line["judge"]["stderr"] > 0


def test_a_killed_run_looks_on_where_it_was(config, tmp_path):
    """GRPO, bit for bit: the same lines, and the same decision."""
    path = config("grpo", save_steps=1, max_kl=1e6)
    whole = run("grpo", path, tmp_path / "whole")
    out, log = tmp_path / "run", tmp_path / "run.log"
    command = ["--config", path, "--output_dir", out]
    assert forks.run("recipes.grpo", command, log, "log:3") == -signal.SIGKILL, log.read_text()[-2000:]
    assert forks.run("recipes.grpo", command, log, None) == 0, log.read_text()[-2000:]
    assert rows(out / "monitor.jsonl") == whole
    # a rate that takes the policy far: the KL is measured on samples, and a small one may come out below 0
    far = config("grpo", max_kl=1e-9, learning_rate=0.1, monitor_samples=8)
    told = run("grpo", far, tmp_path / "stopped")
    assert len(told) < 6
    decision = told[-1]["decision"]
    assert "beyond max_kl" in decision and f"kept step {told[-1]['step']}" not in decision


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"judge": "final_number"}, "judge final_number is the reward itself"),
        ({"judge": "no_such:thing"}, "there is no judge no_such:thing"),
        ({"judge": "nowhere/at/all"}, "does not exist"),
        ({"judge": None, "stop_patience": 1}, "stop_patience needs a judge"),
        ({"monitor_datasets": None}, "belong together"),
        ({"monitor_steps": 0}, "belong together"),
        ({"monitor_steps": -1}, "must not be negative"),
        ({"max_kl": 0.0}, "max_kl above 0"),
        ({"monitor_batch_size": 0}, "monitor_batch_size at least 1"),
        ({"max_result_tokens": 3}, "max_result_tokens is of tools' results"),
        ({"tools": ["python"], "max_result_tokens": 3, "top_k": 5}, "max_result_tokens is not kept"),
        ({"monitor_datasets": [{"path": "PROMPTS"}]}, "1 left out: a turn has no role"),
        ({"monitor_datasets": [{"path": "ONE"}]}, "hold 1 prompts"),
        ({"monitor_datasets": [{"path": "UNJUDGED"}]}, "no row of monitor_datasets can be judged by final_number"),
        ({"monitor_datasets": [{"path": "/nowhere.jsonl"}]}, "/nowhere.jsonl"),
    ],
)
def test_bad_settings_are_one_line(settings, message, config, tmp_path, capsys):
    asked = [{"role": "user", "content": "How many?"}]
    for name, held_out in (
        ("PROMPTS", [{"prompt": [{"content": "How many?"}], "answer": "1"}]),
        ("ONE", [{"prompt": asked, "answer": "1"}]),
        ("UNJUDGED", [{"prompt": asked, "answer": "many"}] * 2),
    ):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
    settings = json.loads(
        re.sub('"(PROMPTS|ONE|UNJUDGED)"', lambda m: json.dumps(str(tmp_path / f"{m[1]}.jsonl")), json.dumps(settings))
    )
    with pytest.raises(SystemExit) as exit_:
        run("grpo", config("grpo", **settings), tmp_path / "run")
    error = capsys.readouterr().err
    told = [line for line in error.splitlines() if "examples/s" not in line]
    assert exit_.value.code == 2 and message in error and len([line for line in told if line.strip()]) == 1, error


def test_adapters_are_watched_and_kept(config, tmp_path):
    """The start is the model without its adapter; the best look's adapter is put back."""
    from test_resume import same

    told = run(
        "grpo",
        config("grpo", use_peft=True, lora_target_modules=["q_proj", "v_proj"], learning_rate=0.05, max_kl=1e-4),
        tmp_path / "run",
    )
    assert told[0]["kl"]["value"] == pytest.approx(0, abs=1e-4)
    best = told[-1]["decision"].rpartition(" ")[2]
    kept, put_back = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (tmp_path / "run" / f"best-{best}", tmp_path / "run")
    )
    assert int(best) < told[-1]["step"] and same(kept, put_back)


def test_repeats_and_divergence(chat_model, tokenizer):
    import torch
    from transformers import AutoModelForCausalLM

    from eval.generation.divergence import log_probability, repeated

    assert (
        repeated("the the the the") == pytest.approx(2 / 3)
        and repeated("one two three") == 0
        and repeated("") == 0
        and repeated("a b a b", 2) == pytest.approx(1 / 3)
    )
    model = AutoModelForCausalLM.from_pretrained(chat_model)
    prompts, replies = [[20, 21, 22], [23]], [[30, 31], [32, 33, 34]]
    found, entropies = log_probability(model, prompts, replies, batch_size=1)
    both, together = log_probability(model, prompts, replies)
    first, _ = log_probability(model, prompts, [reply[:1] for reply in replies])
    assert log_probability(model, prompts, replies, written=[[1] + [0] * (len(reply) - 1) for reply in replies])[
        0
    ] == pytest.approx(first, abs=1e-4)
    for prompt, reply, logp, entropy in zip(prompts, replies, found, entropies):
        with torch.no_grad():
            table = model(torch.tensor([prompt + reply])).logits[0].log_softmax(-1)
        at = range(len(prompt) - 1, len(prompt) + len(reply) - 1)
        assert logp == pytest.approx(sum(table[i, token].item() for i, token in zip(at, reply)), abs=1e-4)
        assert entropy == pytest.approx(
            -sum((table[i].exp() * table[i]).sum().item() for i in at) / len(reply), abs=1e-4
        )
    assert both == pytest.approx(found, abs=1e-4) and together == pytest.approx(entropies, abs=1e-4)


def test_with_tools_the_watch_uses_them_and_counts_what_the_model_wrote(config, tmp_path, monkeypatch):
    import eval.generation.generate

    asked, real = [], eval.generation.generate.generate

    def generate(model, tokenizer, prompts, **options):
        if "seed" in options:  # not the trainer's own
            asked.append(
                (
                    options["tools"][0].__name__,
                    options["max_result_tokens"],
                    options["max_tool_calls"] > 1,
                    options["temperature"],
                    "Tools:" in tokenizer.decode(prompts[0]),
                )
            )
        groups = real(model, tokenizer, prompts, **options)
        for group in groups:
            for reply in group:
                reply.written[-1:] = [0]  # as if a tool had said it
        return groups

    monkeypatch.setattr(eval.generation.generate, "generate", generate)
    told, *_ = run(
        "grpo",
        config("grpo", tools=["python"], max_result_tokens=3, max_steps=1, judge=None, temperature=1.3),
        tmp_path / "out",
    )
    assert (
        set(asked) == {("python", 3, True, 1.0, True)}
        and told["length"]["value"] == 5.0
        and told["kl"]["value"] == 0.0
    )
