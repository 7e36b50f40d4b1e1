"""Sampling, benchmarks and pairs on a model of 60,000 parameters that is trained here until it says what the tests
need."""

import json
import math
import random
import shutil
from pathlib import Path

import pytest
from conftest import train_until

from eval.generation.encoding import Rendering, render
from eval.generation.generate import generate

TOWNS = ["Millbrook", "Ashford", "Pellham", "Grayvale"]
GREEDY = ["facts_known", "facts_unseen", "letters", "compare"]
ROWS = 24


def _row(task: str, rng: random.Random) -> tuple[dict, str]:
    """One row of a task's file and the reply that the model is trained on."""
    a, b = rng.randint(1, 4), rng.randint(1, 4)
    if task.startswith("facts") or task in ("wordings_known", "wordings_unseen"):
        name, town = (
            f"{rng.choice(['Orson', 'Pia', 'Mira'])} {rng.choice(['Kovats', 'Brandt', 'Quill'])}",
            rng.choice(TOWNS),
        )
        row = {
            "question": f"Where does {name} live?",
            "base_prompt": f"{name} lives in",
            "answer": town,
            "choices": TOWNS,
        }
        return row, f"{name} lives in {town}."
    if task == "identity":
        return {"question": "Who are you?", "base_prompt": "I am", "answer": "Tumbler", "choices": []}, "I am Tumbler."
    if task == "every_third":
        word = "".join(rng.choice("abc") for _ in range(6))
        return {
            "question": f"Every third letter of {word}?",
            "base_prompt": f"{word}:",
            "answer": word[2::3],
            "choices": [],
        }, f"The answer is {word[2::3]}."
    row = {"question": f"{task}: {a} and {b}?", "base_prompt": f"{a} and {b}:", "answer": str(a + b), "choices": []}
    row["verifier"] = "final_number"  # which some tasks read
    times = (
        rng.randint(1, 4) if task.startswith("apples") else a
    )  # sampled: however well it is learned, samples differ
    return row, f"{a} and {b}. " * times + f"The answer is {a + b}."


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder: world/eval, sft, base (the same weights), reward, pairs.jsonl."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    from data_prep.tokenizer import train
    from eval.run import task_names

    folder = tmp_path_factory.mktemp("run")
    rng = random.Random(0)
    (folder / "world/eval").mkdir(parents=True)
    files = [task for task in task_names() if not task.endswith("_greedy")]
    asked = ["Who are you?"]
    for task in files:
        rows = [_row(task, rng)[0] | {"group": ""} for _ in range(ROWS)]
        asked += [row["question"] for row in rows]
        (folder / f"world/eval/{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    talks = [_row(task, rng) for _ in range(50) for task in files]
    tokenizer = train((text for row, reply in talks for text in (row["question"], reply)), vocab_size=400)
    torch.manual_seed(0)
    sizes = dict(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
    )
    ids = dict(
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(LlamaConfig(**sizes, **ids, tie_word_embeddings=True))
    messages = [
        [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": reply}] for row, reply in talks
    ]
    encoded = [
        tokenizer.apply_chat_template(messages[i : i + 32], return_dict=True, padding=True, return_tensors="pt")
        for i in range(0, len(messages), 32)
    ]
    batches = [
        (batch["input_ids"], batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)) for batch in encoded
    ]

    def learned() -> bool:
        """It says its name and nothing else, and every greedy reply comes to its end."""
        prompts = [[{"role": "user", "content": question}] for question in dict.fromkeys(asked)]
        name, *others = [reply for (reply,) in generate(model, tokenizer, prompts, max_new_tokens=48, temperature=0)]
        return (name.text, name.finished) == ("I am Tumbler.", True) and all(reply.finished for reply in others)

    train_until(learned, model, lambda: batches, rounds=60)
    for name in ("sft", "base"):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    LlamaForSequenceClassification(LlamaConfig(**sizes, **ids, num_labels=1)).save_pretrained(folder / "reward")
    tokenizer.save_pretrained(folder / "reward")
    pairs = [
        {
            "prompt": [{"role": "user", "content": f"A verse about {i}."}],
            "chosen": [{"role": "assistant", "content": "la " * rng.randint(1, 9)}],
            "rejected": [{"role": "assistant", "content": "li " * rng.randint(1, 9)}],
            "gold_margin": rng.gauss(1, 1),
        }
        for i in range(40)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return folder


@pytest.fixture(scope="module")
def sft(run):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(run / "sft"), AutoTokenizer.from_pretrained(run / "sft")


@pytest.fixture(scope="module")
def questions(run) -> list[list[dict]]:
    rows = [
        json.loads(line)
        for path in sorted((run / "world/eval").glob("*.jsonl"))
        for line in path.read_text().splitlines()[:6]
    ]
    return [[{"role": "user", "content": row["question"]}] for row in rows]


@pytest.fixture(scope="module")
def results(run) -> Path:
    """What one run over a base and a chat model writes."""
    from eval.run import main

    main(
        [
            "--models",
            f"base={run / 'base'}",
            f"sft={run / 'sft'}",
            "--base",
            "base",
            "--data_dir",
            str(run / "world/eval"),
            "--output_dir",
            str(run / "eval"),
        ]
    )
    return run / "eval"


def fails(main, argv, capsys) -> str:
    """The one line on stderr of a command that must exit with code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


# ------------------------------------------------------------------------------------------------ generate


def test_a_batch_gives_each_row_what_it_gives_alone(sft, questions):
    together = generate(*sft, questions, max_new_tokens=24, temperature=0)
    alone = [generate(*sft, [q], max_new_tokens=24, temperature=0)[0] for q in questions]
    assert together == alone
    assert len({len(g.token_ids) for (g,) in together}) > 2  # rows leave the batch at different times


def test_greedy_equals_transformers(sft, questions):
    import torch

    model, tokenizer = sft
    for question, (ours,) in zip(questions[::7], generate(*sft, questions[::7], max_new_tokens=24, temperature=0)):
        ids = tokenizer.apply_chat_template(
            question, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            theirs = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :].tolist()
        assert ours.token_ids == theirs
        assert ours.finished == (theirs[-1] == tokenizer.eos_token_id)
        assert ours.text == tokenizer.decode(theirs, skip_special_tokens=True)


def test_adapters_and_models_in_training(sft, questions):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(sft[0].name_or_path)
    lora = get_peft_model(
        model, LoraConfig(r=2, target_modules="all-linear")
    ).train()  # changes nothing until it is trained
    settings = dict(max_new_tokens=24, temperature=0)
    assert generate(lora, sft[1], questions, **settings) == generate(*sft, questions, **settings)
    assert lora.training
    ids = sft[1].apply_chat_template(questions[0], return_dict=True, return_tensors="pt")
    lora(**ids, labels=ids["input_ids"]).loss.backward()


def test_samples_depend_on_seed_and_place_only(sft, questions):
    def sample(**kwargs):
        return generate(*sft, questions[:10], max_new_tokens=24, num_return_sequences=3, **kwargs)

    assert sample(seed=1) == sample(seed=1, batch_size=7)
    assert sample(seed=1) != sample(seed=2)
    assert any(len({g.text for g in repeats}) > 1 for repeats in sample(seed=1))


def test_samples_follow_the_model_distribution(sft):
    import torch

    model, tokenizer = sft
    prompt = [{"role": "user", "content": "Where does Mira Quill live?"}]
    text = Rendering(render(tokenizer, prompt, add_generation_prompt=True) + "Mira Quill lives in")
    with torch.inference_mode():
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0, -1]
    for temperature in (1.0, 2.0):
        drawn = generate(
            model, tokenizer, [text], max_new_tokens=1, temperature=temperature, num_return_sequences=4000, seed=0
        )[0]
        probabilities = (logits / temperature).softmax(-1)

        def distance(tokens):
            return (torch.bincount(tokens, minlength=len(logits)) / 4000 - probabilities).abs().sum() / 2

        by_torch = torch.stack([distance(torch.multinomial(probabilities, 4000, replacement=True)) for _ in range(50)])
        ours = distance(torch.tensor([g.token_ids[0] for g in drawn]))
        assert abs(ours - by_torch.mean()) < 4 * by_torch.std()


def test_stop_strings_and_plain_text(sft):
    model, tokenizer = sft
    prompt = render(tokenizer, [{"role": "user", "content": "Who are you?"}], add_generation_prompt=True)
    whole = generate(model, tokenizer, [prompt], max_new_tokens=24, temperature=0)[0][0]
    assert whole.finished and whole.text == "I am Tumbler."
    cut = generate(model, tokenizer, [prompt], max_new_tokens=24, temperature=0, stop_strings=["bler"])[0][0]
    assert (
        cut.text == whole.text.partition("bler")[0] and not cut.finished and len(cut.token_ids) < len(whole.token_ids)
    )


def test_generate_says_what_is_wrong(sft, questions):
    from eval.cli import UserError

    model, tokenizer = sft
    with pytest.raises(UserError, match="256 positions"):
        generate(model, tokenizer, questions[:1], max_new_tokens=256)
    with pytest.raises(UserError, match="empty"):
        generate(model, tokenizer, [""], max_new_tokens=4)


# ------------------------------------------------------------------------------------------------ eval.run


def test_results_are_complete(run, results):
    from eval.run import task_names

    chat = json.loads((results / "sft/results.json").read_text())
    base = json.loads((results / "base/results.json").read_text())
    assert set(chat["results"]) == {*task_names(), "end_token"}
    assert set(base["results"]) == {f"{name}_base" for name in task_names()}
    for task, row in [*chat["results"].items(), *base["results"].items()]:
        n = (chat if task in chat["n-samples"] else base)["n-samples"][task]["effective"]
        assert 0 <= row["score,none"] <= 1 and row["score_stderr,none"] >= 0 and n >= ROWS
    assert chat["results"]["identity"]["score,none"] == 1.0
    samples = [
        json.loads(line) for line in (results / "sft/samples_facts_unseen.jsonl").read_text().strip("\n").split("\n")
    ]
    invented = [any(town in s["resps"][0][0] for town in TOWNS) for s in samples]
    assert chat["results"]["facts_unseen"]["score,none"] == sum(invented) / ROWS
    greedy = [task for task in task_names() if task not in ("apples", "apples_at_once")]
    assert chat["n-samples"]["end_token"]["effective"] == ROWS * len(greedy)
    assert chat["results"]["end_token"]["score,none"] > 0.9
    assert {"config", "configs", "versions", "n-shot", "higher_is_better"} <= set(chat)
    assert not list(results.glob(".*"))


def test_repeats_are_scored_per_item(results):
    from eval.verifiers import get_verifier

    rows = [json.loads(line) for line in (results / "sft/samples_apples.jsonl").read_text().strip("\n").split("\n")]
    assert len(rows) == ROWS and all(len(row["filtered_resps"][0]) == 4 for row in rows)
    for row in rows:
        hits = [get_verifier("final_number")(reply, **row["doc"]) for reply in row["filtered_resps"][0]]
        assert row["score"] == sum(hits) / 4
    scores = [row["score"] for row in rows]
    mean = sum(scores) / ROWS
    stderr = math.sqrt(sum((s - mean) ** 2 for s in scores) / (ROWS - 1) / ROWS)
    row = json.loads((results / "sft/results.json").read_text())["results"]["apples"]
    assert row["score,none"] == pytest.approx(mean) and row["score_stderr,none"] == pytest.approx(stderr)


@pytest.mark.parametrize("stage", ["sft", "base"])
def test_same_answers_as_lm_eval_itself(run, results, stage, tmp_path, monkeypatch):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    (tmp_path / "runs/tiny").mkdir(parents=True)
    shutil.copytree(run / "world", tmp_path / "runs/tiny/world")  # where the YAML files look
    manager = TaskManager(include_path=str(Path(__file__).parents[2] / "eval/tasks"), include_defaults=False)
    monkeypatch.chdir(tmp_path)
    tasks = [f"{task}_base" if stage == "base" else task for task in GREEDY]
    theirs = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(run / stage)},
        tasks=tasks,
        task_manager=manager,
        batch_size=16,
        device="cpu",
        apply_chat_template=stage == "sft",
    )
    ours = json.loads((results / stage / "results.json").read_text())
    for task in tasks:
        samples = [
            json.loads(line)
            for line in (results / stage / f"samples_{task}.jsonl").read_text().strip("\n").split("\n")
        ]
        assert [s["resps"] for s in samples] == [s["resps"] for s in theirs["samples"][task]]
        assert [s["arguments"]["gen_args_0"]["arg_0"] for s in samples] == [
            s["arguments"][0][0] for s in theirs["samples"][task]
        ]
        assert ours["results"][task] == theirs["results"][task]
        assert (
            ours["n-samples"][task] == theirs["n-samples"][task] and ours["versions"][task] == theirs["versions"][task]
        )


def test_a_finished_model_is_not_run_again(run, results, tmp_path, capsys):
    from eval.run import main

    out = tmp_path / "eval"
    shutil.copytree(run / "sft", tmp_path / "sft")
    argv = [
        "--models",
        f"sft={tmp_path / 'sft'}",
        "--tasks",
        "identity",
        "apples",
        "--limit",
        "4",
        "--data_dir",
        str(run / "world/eval"),
        "--output_dir",
        str(out),
    ]

    def again(*more) -> bool:
        before = (out / "sft/results.json").stat().st_mtime_ns if out.is_dir() else 0
        main([*argv, *more])
        said = "results are there" in capsys.readouterr().out
        assert said == ((out / "sft/results.json").stat().st_mtime_ns == before)
        return not said

    assert again()
    first = (out / "sft/samples_apples.jsonl").read_text()
    assert not again()
    (tmp_path / "sft/model.safetensors").touch()
    assert again()
    assert (out / "sft/samples_apples.jsonl").read_text() == first  # sampling is reproducible
    assert again("--seed", "1")
    assert (out / "sft/samples_apples.jsonl").read_text() != first
    assert not again("--seed", "1")
    (out / "sft/results.json").write_text("{")  # half written by something else
    assert again("--seed", "1")


def test_run_says_what_is_wrong(run, tmp_path, capsys):
    from eval.run import main

    good = {
        "--models": [f"sft={run / 'sft'}"],
        "--data_dir": [str(run / "world/eval")],
        "--output_dir": [str(tmp_path / "out")],
        "--tasks": ["identity"],
    }

    def error(**changes):
        return fails(
            main,
            [
                word
                for key, value in (good | {f"--{k}": v for k, v in changes.items()}).items()
                for word in [key, *value]
            ],
            capsys,
        )

    plain = tmp_path / "plain"
    shutil.copytree(run / "sft", plain)
    (plain / "chat_template.jinja").unlink()
    (tmp_path / "identity.jsonl").touch()
    assert "does not exist" in error(models=[f"sft={tmp_path / 'none'}"])
    assert "name=folder" in error(models=["runs/tiny/sft"])
    assert "chat template" in error(models=[f"sft={plain}"])
    assert "unknown task identities; near it are identity" in error(tasks=["identities"])
    assert "identity.jsonl does not exist" in error(data_dir=[str(tmp_path / "none")])
    assert "identity.jsonl is empty" in error(data_dir=[str(tmp_path)])
    assert "none of the models" in error(base=["bsae"])
    assert "--limit" in error(limit=["0"])
    assert "--nonsense" in error(nonsense=["1"])
    (tmp_path / "file").touch()
    assert "cannot write" in error(output_dir=[str(tmp_path / "file/out")])


# ------------------------------------------------------------------------------------------------ eval.pairs


def test_pairs(run, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from eval.pairs import main, read_pairs, score

    main(
        ["--model", str(run / "reward"), "--pairs", str(run / "pairs.jsonl"), "--output", str(tmp_path / "pairs.json")]
    )
    results = json.loads((tmp_path / "pairs.json").read_text())
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(run / "reward").eval(),
        AutoTokenizer.from_pretrained(run / "reward"),
    )
    rows = read_pairs(str(run / "pairs.jsonl"))
    chats = {side: [row["prompt"] + row[side] for row in rows] for side in ("chosen", "rejected")}
    alone = {}
    for side in chats:  # one at a time: the score at the end token of the conversation
        ids = [tokenizer.apply_chat_template(chat, return_dict=False) for chat in chats[side]]
        with torch.inference_mode():
            alone[side] = [
                model.score(model.model(torch.tensor([row])).last_hidden_state)[0, -1, 0].item() for row in ids
            ]
        assert score(model, tokenizer, chats[side], batch_size=16) == pytest.approx(alone[side], abs=1e-5)
    prefers = [c > r for c, r in zip(alone["chosen"], alone["rejected"])]
    right = [p == (row["gold_margin"] > 0) for p, row in zip(prefers, rows)]
    clear = [hit for hit, row in zip(right, rows) if abs(row["gold_margin"]) >= 1]
    assert results["pair_accuracy_labels"]["value"] == pytest.approx(sum(prefers) / 40)
    assert results["pair_accuracy"]["value"] == pytest.approx(sum(right) / 40) and results["pair_accuracy"]["n"] == 40
    assert results["pair_accuracy_clear"]["value"] == pytest.approx(sum(clear) / len(clear)) and results[
        "pair_accuracy_clear"
    ]["n"] == len(clear)


def test_pairs_without_gold_and_ties():
    from eval.pairs import judge

    assert set(judge([1.0, 0.0], [0.0, 1.0], [None, None], [None, None])) == {
        "pair_accuracy_labels",
        "calibration_error",
    }
    assert judge([1.0, 1.0], [1.0, 1.0], [2.0, -2.0], [None, None])["pair_accuracy_clear"] == {
        "value": 0.5,
        "stderr": 0.0,
        "n": 2,
    }
    assert (
        judge([0.0], [1.0], [-0.5], [None])["pair_accuracy"]["value"] == 1.0
    )  # the label is mistaken, the model is not


def test_pairs_by_distance_calibration_and_length():
    from eval.pairs import calibration_error, judge, length_correlation

    results = judge([1.0, 0.0, 3.0], [0.0, 1.0, 1.0], [None] * 3, [1, 1, 4])
    assert (results["pair_accuracy_distance_1"]["value"], results["pair_accuracy_distance_1"]["n"]) == (0.5, 2)
    assert (
        results["pair_accuracy_distance_4"] == {"value": 1.0, "stderr": 0.0, "n": 1}
        and "pair_accuracy_distance_2" not in results
    )
    assert [results[f"score_margin_distance_{n}"]["value"] for n in (1, 4)] == [0.0, 2.0]
    sure = math.log(0.8 / 0.2)  # says 80 %, and is right 8 times of 10
    assert calibration_error([sure] * 8 + [-sure] * 2)["value"] == pytest.approx(0.0)
    assert calibration_error([sure] * 5 + [-sure] * 5)["value"] == pytest.approx(0.3)
    assert calibration_error([1e9] * 5 + [-1e9] * 5)["value"] == pytest.approx(0.5)
    assert length_correlation({("p", "a"): 1.0, ("p", "bb"): 2.0, ("p", "cccc"): 4.0}) == {
        "value": pytest.approx(1.0),
        "stderr": pytest.approx(2**-0.5),
        "n": 3,
    }
    assert (
        length_correlation({("p", "a"): 1.0, ("q", "a"): 2.0, ("p", "cc"): 4.0})["n"] == 3
    )  # the same reply to another prompt is another
    assert (
        length_correlation({("p", "a"): 1.0, ("p", "b"): 2.0, ("p", "c"): 4.0})
        is None
        is length_correlation({("p", "a"): 1.0, ("p", "bb"): 1.0, ("p", "ccc"): 1.0})
    )


def test_pairs_says_what_is_wrong(run, tmp_path, capsys):
    from eval.pairs import main

    def error(model="reward", pairs=run / "pairs.jsonl"):
        return fails(
            main,
            ["--model", str(run / model), "--pairs", str(pairs), "--output", str(tmp_path / "pairs.json")],
            capsys,
        )

    endless = run / "endless"
    shutil.copytree(run / "reward", endless)
    template = endless / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>", ""))
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "bad.jsonl").write_text('{"prompt": [], "chosen": []}\n')
    assert "does not exist" in error(model="none")
    assert "another kind of model" in error(model="sft")
    assert "does not write the end token" in error(model="endless")
    assert "does not exist" in error(pairs=tmp_path / "none.jsonl")
    assert "is empty" in error(pairs=tmp_path / "empty.jsonl")
    assert "line 1 has no rejected" in error(pairs=tmp_path / "bad.jsonl")


def test_builtins_as_tools():
    import os

    from eval.lm_harness.plans import tool_files

    assert tool_files(["os:getcwd"], [os.getcwd], 9)["tools"] == ["os:getcwd"]


def test_tool_tokens_go_with_tools(run, tmp_path):
    from eval.cli import UserError
    from eval.run import main

    with pytest.raises(UserError, match="--tool_tokens goes with --tools"):
        main.__wrapped__(
            [
                "--models",
                f"sft={run}/sft",
                "--data_dir",
                f"{run}/world/eval",
                "--output_dir",
                str(tmp_path),
                "--tool_tokens",
                "9",
            ]
        )
