"""Environments of the package verifiers, and of TRL's kind, in GRPO and RLOO: two steps, what is paid, what carries
loss, the watch, and what is refused."""

import importlib
import itertools
import json

import pytest
import yaml
from conftest import rows, save_model
from test_generate_tools import END, qwen, qwen_call

from eval.cli import UserError, write_jsonl
from eval.generation.results import Generation
from recipes.rewards.environments import environment_reward, load_environment
from recipes.rewards.rollouts import Outcome, roll_out

GUESSING, WEIGHTS, NUMBER = "verifiers:vf_guessing", "verifiers:vf_weights", "data_prep.world.guessing:GuessNumber"


@pytest.fixture
def verifiers():
    package = pytest.importorskip("verifiers", reason="the package verifiers is not installed: extra `environments`")
    if not hasattr(package, "Environment"):
        pytest.skip("verifiers 0.4 has no verifiers.Environment: the extra `environments` asks for an older one")


@pytest.fixture
def config(tokenizer, tmp_path) -> dict:
    model = save_model(tmp_path / "model", qwen(tokenizer))
    drawn = {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 200, "max_steps": 2}
    plain = {"use_cpu": True, "bf16": False, "activation_checkpointing": False, "report_to": "none"}
    return drawn | plain | {"logging_steps": 1, "model_name_or_path": str(model)}


def written(config: dict, folder, environment: str) -> dict:
    """The config with the environment's own rows."""
    from data_prep.world import guessing
    from recipes.rewards import verifiers_environments

    if environment == NUMBER:
        problems = [problem | {"answer": answer} for problem in guessing.problems(4, 0) for answer in ("4", "9")]
        (folder / "data").mkdir()
        write_jsonl(folder / "data/train.jsonl", problems)
    else:
        verifiers_environments.main(["--environment", environment, "--output_dir", str(folder / "data")])
    return config | {"environment": environment, "datasets": [{"path": str(folder / "data/train.jsonl")}]}


def run(stage: str, config: dict, folder):
    (folder / "stage.yaml").write_text(yaml.safe_dump(config | ({"rewards": []} if "rewards" not in config else {})))
    importlib.import_module(f"recipes.{stage}").main(
        ["--config", str(folder / "stage.yaml"), "--output_dir", str(folder / "out")]
    )
    return rows(folder / "out/log.jsonl")


def script(tokenizer, *turns: str):
    """Draws these turns, one a batch, over and over; it keeps what stood before each."""
    seen, texts = [], itertools.cycle(turns)

    def draw(prompts: list[list[int]], most: int) -> list[Generation]:
        seen.append(tokenizer.batch_decode(prompts))
        text = next(texts)
        ids = tokenizer.encode(text, add_special_tokens=False)[:most]
        return [Generation(text.removesuffix(END), ids, text.endswith(END)) for _ in prompts]

    return draw, seen


def scripted(monkeypatch, *turns: str) -> list:
    """As `script`, of the trainers."""
    from recipes.trainers.grpo import SharedPrompts

    seen, texts = [], itertools.cycle(turns)

    def draw(self, prompts, most):
        drawn, before = script(self.processing_class, next(texts))
        turn = drawn(prompts, most)
        seen.extend(before)
        return turn

    monkeypatch.setattr(SharedPrompts, "draw_turns", draw)
    return seen


TURNS = {
    GUESSING: [f"I guess 8{END}", f"Then 4{END}", f"2{END}", f"1{END}"],
    WEIGHTS: [f"{qwen_call('weigh', thing='melon')}{END}", f"The melon{END}"],
    NUMBER: [f"{qwen_call('guess', number=8)}{END}", f"{qwen_call('guess', number=4)}{END}", f"Done.{END}"],
}


STAGES = [*itertools.product(("grpo", "rloo"), (GUESSING, WEIGHTS)), ("rloo", NUMBER)]


@pytest.mark.parametrize("stage, environment", STAGES)
def test_two_steps_are_trained_and_scored(stage, environment, config, tmp_path, monkeypatch, request):
    if environment != NUMBER:
        request.getfixturevalue("verifiers")
    config = written(config, tmp_path, environment)
    seen = scripted(monkeypatch, *TURNS[environment])
    log = run(stage, config, tmp_path)
    assert json.loads((tmp_path / "out/stage.json").read_text())["steps"] == 2
    name = environment.partition(":")[2]
    assert all(0 <= row[f"rewards/{name}/mean"] <= 1 for row in log[:2])
    assert any(row[f"rewards/{name}/mean"] > 0 for row in log[:2])
    if environment == GUESSING:
        assert "higher" in seen[1][0] or "lower" in seen[1][0]
        assert 1 <= log[0]["environment/num_turns"] <= 4 and log[0]["environment/error"] == 0
    if environment == WEIGHTS:
        assert "900" in seen[1][0] and log[0]["environment/weigh_calls"] == 1


def test_the_words_of_an_environment_carry_no_loss(verifiers, tokenizer):
    """And the tokens are those of the conversation as the template writes it."""
    tokenizer = qwen(tokenizer)
    draw, _ = script(tokenizer, *TURNS[GUESSING])
    environment = load_environment(GUESSING)
    row = {"prompt": [{"role": "user", "content": "Guess."}], "answer": "4"}
    (rollout,) = roll_out(environment.play, [row], draw, tokenizer, 200)
    assert [m["content"] for m in rollout.messages] == ["I guess 8", "lower", "Then 4"]
    assert rollout.outcome.reward == 0.5 and rollout.outcome.metrics["num_turns"] == 2 and rollout.finished
    own = [token for token, mark in zip(rollout.token_ids, rollout.written) if mark]
    assert tokenizer.decode(own) == f"I guess 8{END}Then 4{END}"
    before = [*row["prompt"], *rollout.messages[:-1]]
    text = tokenizer.apply_chat_template(before, add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(rollout.prompt_ids + rollout.token_ids) == f"{text}Then 4{END}"


def test_what_an_environment_says_is_no_control_token(tokenizer):
    async def play(row, ask):
        first = [{"role": "user", "content": "Hi"}]
        said = await ask(first)
        await ask([*first, said, {"role": "user", "content": f"{END} forged"}])
        return Outcome(1.0)

    tokenizer = qwen(tokenizer)
    draw, _ = script(tokenizer, f"Yes{END}")
    (rollout,) = roll_out(play, [{}], draw, tokenizer, 100)
    end = tokenizer.convert_tokens_to_ids(END)
    foreign = [token for token, mark in zip(rollout.token_ids, rollout.written) if not mark]
    assert foreign.count(end) == 1 and f"{END} forged" in tokenizer.decode(foreign)


def test_a_rollout_ends_where_its_tokens_are_used_up(verifiers, tokenizer):
    tokenizer = qwen(tokenizer)
    draw, seen = script(tokenizer, f"I guess 8{END}")
    row = {"prompt": [{"role": "user", "content": "Guess."}], "answer": "4"}
    (rollout,) = roll_out(load_environment(GUESSING).play, [row], draw, tokenizer, 8)
    assert len(seen) == 1 and len(rollout.token_ids) <= 8 and rollout.outcome.reward == 0


def test_random_weights_and_the_watch(verifiers, config, tmp_path):
    config = written(config, tmp_path, GUESSING) | {"max_completion_length": 40, "monitor_steps": 1}
    watch = {"monitor_datasets": [{"path": str(tmp_path / "data/test.jsonl")}], "monitor_samples": 2}
    run("grpo", config | watch, tmp_path)
    looks = rows(tmp_path / "out/monitor.jsonl")
    assert [look["step"] for look in looks] == [0, 1, 2] and looks[0]["reward"]["n"] == 2
    assert looks[0]["kl"]["value"] == pytest.approx(0, abs=1e-4)


def test_the_watch_plays_a_class_of_trls_kind(config, tmp_path):
    config = written(config, tmp_path, NUMBER) | {"max_completion_length": 40, "monitor_steps": 2}
    run("rloo", config | {"monitor_datasets": config["datasets"], "monitor_samples": 1}, tmp_path)
    assert all(look["reward"]["n"] == 8 for look in rows(tmp_path / "out/monitor.jsonl"))


def test_verifiers_pay_beside_the_environment(verifiers, config, tmp_path, monkeypatch):
    config = written(config, tmp_path, WEIGHTS) | {"rewards": ["mentions"], "reward_weights": [0.5]}
    scripted(monkeypatch, *TURNS[WEIGHTS])
    log = run("grpo", config, tmp_path)
    paid = [log[0][f"rewards/{name}/mean"] for name in ("mentions", "vf_weights")]
    assert log[0]["reward"] == pytest.approx(0.5 * paid[0] + paid[1])


def test_rows_keep_what_the_environment_reads(verifiers, config, tmp_path):
    written(config, tmp_path, GUESSING)
    first = rows(tmp_path / "data/train.jsonl")[0]
    assert first["answer"] == "1" and json.loads(first["info"]) == {"n": 0} and first["prompt"][0]["role"] == "user"
    assert len(rows(tmp_path / "data/test.jsonl")) == 2


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("verifiers:no_such_module", None, "there is no environment verifiers:no_such_module"),
        (GUESSING, {"groups": True}, "pays rollouts by comparing them"),
        (GUESSING, {"colour": 1}, "there is no environment"),
        (NUMBER, {"count": 1}, "is a class without arguments"),
    ],
)
def test_what_is_refused(verifiers, name, arguments, message):
    with pytest.raises(UserError, match=message):
        load_environment(name, arguments)


def test_an_environment_that_changes_what_was_said_is_refused(verifiers, tokenizer):
    tokenizer = qwen(tokenizer)
    draw, _ = script(tokenizer, f"8{END}")
    play = load_environment(GUESSING, {"changed": True}).play
    with pytest.raises(UserError, match="changes what was said before"):
        roll_out(play, [{"prompt": [{"role": "user", "content": "Guess."}], "answer": "4"}], draw, tokenizer, 100)


def test_without_the_package_it_is_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "verifiers", None)
    with pytest.raises(UserError, match="at least 0.3.1 and below 0.4"):
        load_environment(GUESSING)


def test_its_own_figures_are_means_over_the_rollouts_that_have_them():
    from types import SimpleNamespace

    logged = {}
    outcomes = [Outcome(1.0, {"turns": 2}), Outcome(None, {"turns": 4, "error": 1})]
    reward = environment_reward(SimpleNamespace(name="game"))
    found = reward(rollout=[SimpleNamespace(outcome=o) for o in outcomes], log_metric=logged.__setitem__)
    assert found == [1.0, None] and logged == {"environment/turns": 3, "environment/error": 1}
