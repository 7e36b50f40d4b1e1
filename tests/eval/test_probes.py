"""The probes: their counting against counting by hand, what they find in a model that has learned by heart, and bad
input."""

import json
import random
import re

import pytest
from conftest import rows, save_model, train_until
from hypothesis import given
from hypothesis import strategies as st

from eval.probes import dreams, in_context, jagged, life, regurgitation


def write(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def read(path) -> dict:
    return json.loads(path.read_text())


def refuses(main, argv: list[str], message: str, capsys) -> None:
    """One line that says it, exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and message in error and error.count("\n") == 1, error


# ---- Regurgitation ----


@pytest.fixture(scope="module")
def learned(world, tokenizer, tmp_path_factory):
    """A folder with documents that stand 1, 4 or 8 times in `train/`, others in `unseen.jsonl`, and a model that was
    shown those of 8."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("learned")
    (folder / "train").mkdir()
    told = [row["text"] for row in rows(world / "probes/rhymes/rhymes.jsonl") if row["metadata"]["times"] == 1][:15]
    seen = {times: told[3 * i : 3 * i + 3] for i, times in enumerate((1, 4, 8))}
    write(
        folder / "train/0.jsonl",
        [{"id": f"{n}-{i}", "text": text} for n, texts in seen.items() for text in texts for i in range(n)],
    )
    write(folder / "unseen.jsonl", [{"id": str(i), "text": text} for i, text in enumerate(told[9:])])
    model = AutoModelForCausalLM.from_pretrained(save_model(folder / "model", tokenizer))
    rng, ids = random.Random(0), [tokenizer(text)["input_ids"] for text in seen[8]]
    windows = torch.tensor([row[start : start + 24] for row in ids for start in range(len(row) - 23)])

    def batches():
        for _ in range(20):
            batch = windows[rng.sample(range(len(windows)), 24)]
            yield batch, batch

    def by_heart() -> bool:
        """Behind 8 tokens the next 8 are the likeliest, wherever one begins, but for a few that begin two lines."""
        with torch.inference_mode():
            right = model(windows).logits.argmax(-1)[:, 7:15] == windows[:, 8:16]
        return right.all(1).float().mean() > 0.95

    train_until(by_heart, model, batches, rounds=60)
    model.save_pretrained(folder / "model")
    return folder


def test_what_was_learned_by_heart_is_found_and_nothing_else(learned, tmp_path):
    argv = [
        "--models",
        f"m={learned / 'model'}",
        "--documents",
        str(learned / "train"),
        "--unseen",
        str(learned / "unseen.jsonl"),
        "--output",
        str(tmp_path / "out.json"),
    ]
    regurgitation.main([*argv, "--prefix_tokens", "4", "8", "--suffix_tokens", "8"])
    found = read(tmp_path / "out.json")["models"]["m"]
    by_prefix = found["prefixes"]["8"]["extractable"]
    assert list(by_prefix) == ["0", "1", "4", "8"] and [m["n"] for m in by_prefix.values()] == [6, 3, 3, 3]
    assert [by_prefix[times]["value"] for times in ("0", "1", "4")] == [0, 0, 0] and by_prefix["8"]["value"] >= 2 / 3
    assert (
        found["prefixes"]["8"]["spearman"]["value"] == pytest.approx(3**0.5 / 2)
        and found["prefixes"]["8"]["spearman"]["n"] == 3
    )  # ranks 1.5, 1.5, 3
    assert {e["verbatim"] for e in found["examples"]} == {True, False} and all(
        e["text"] == e["suffix"] for e in found["examples"] if e["verbatim"]
    )


def test_occurrences_and_groups(tmp_path, tokenizer):
    texts = ["the river runs by the old mill " * 4 + f"{n} end" for n in range(5)]
    train = write(tmp_path / "train.jsonl", [{"id": str(i), "text": texts[i % 5]} for i in range(13)])
    assert regurgitation.occurrences(["0 end", "4 end", "river", "no such"], [train]) == [3, 2, 4 * 13, 0]
    args = regurgitation.RegurgitationArguments(["m=x"], [train], "out", prefix_tokens=[4], suffix_tokens=4)
    groups = regurgitation.passages([train], [train], tokenizer, args)
    assert sum(map(len, groups.values())) <= 5 and all(
        times <= p.repetitions < 2 * times and len(p.ids) == 8 for times, group in groups.items() for p in group
    )
    for group in groups.values():
        for p in group:
            assert sum(text.count(p.text) for text in (texts[i % 5] for i in range(13))) == p.repetitions


def test_each_document_is_as_likely_as_any_other(tmp_path):
    train = write(tmp_path / "train.jsonl", [{"id": str(i), "text": f"text {i}"} for i in range(20)])
    counts = [0] * 20
    for seed in range(400):
        for text in regurgitation.drawn([train], 5, random.Random(seed)):
            counts[int(text.split()[1])] += 1
    assert sum(counts) == 2000 and min(counts) > 60 and max(counts) < 145


# ---- In context ----


def test_a_shot_more_stands_in_front_and_the_question_never_does():
    asked = [{"question": f"q{i}", "answer": [f"a{i}", "other"]} for i in range(6)]
    args = in_context.InContextArguments(
        ["m=x"],
        "rows",
        "mentions",
        "out",
        shots=[0, 2, 4],
        reply="It is {answer}.",
        speakers=["Human", "Bot"],
        limit=3,
    )
    none, two, four = (in_context.prompts(asked, shots, args) for shots in (0, 2, 4))
    assert none == ["Human: q0\nBot:", "Human: q1\nBot:", "Human: q2\nBot:"]
    for i in range(3):
        assert four[i].endswith(two[i]) and two[i].endswith(none[i])
        shown = re.findall(r"Human: q(\d)\nBot: It is a\1\.\n\n", four[i])
        assert len(set(shown)) == 4 and str(i) not in shown


def test_a_row_may_bring_its_own_context():
    asked = [{"question": "Where?", "answer": "Rome", "context": ["One.", "Two.", "Three."]}]
    args = in_context.InContextArguments(["m=x"], "rows", "mentions", "out", shots=[0, 2])
    assert in_context.prompts(asked, 0, args) == ["Question: Where?\nAnswer:"] and in_context.prompts(
        asked, 2, args
    ) == ["One. Two.\nQuestion: Where?\nAnswer:"]


def test_accuracy_is_of_what_the_verifier_finds_right(chat_model, tmp_path, monkeypatch):
    """A model that answers rightly once two examples stand before the question."""
    import eval.generation.generate

    def learns(model, tokenizer, prompts, **options):
        answers = [
            re.findall(r"Question: (\d)\n", prompt)[-1] if prompt.count("Answer:") > 2 else "x" for prompt in prompts
        ]
        return [[eval.generation.generate.Generation(f" It is {answer}.", [], True)] for answer in answers]

    monkeypatch.setattr(eval.generation.generate, "generate", learns)
    asked = write(tmp_path / "rows.jsonl", [{"question": str(i), "answer": str(i if i else 7)} for i in range(8)])
    in_context.main(
        [
            "--models",
            f"m={chat_model}",
            "--rows",
            asked,
            "--verifier",
            "mentions",
            "--output",
            str(tmp_path / "out.json"),
            "--shots",
            "0",
            "1",
            "2",
            "4",
        ]
    )
    found = read(tmp_path / "out.json")["models"]["m"]["shots"]
    assert {shots: (m["value"], m["n"]) for shots, m in found.items()} == {
        "0": (0, 8),
        "1": (0, 8),
        "2": (7 / 8, 8),
        "4": (7 / 8, 8),
    }


@pytest.mark.parametrize(
    "row, message",
    [
        ({"question": ["a"], "answer": "b"}, "line 2: question must be a text"),
        ({"question": "a", "answer": []}, "line 2: question must be a text"),
        ({"question": "a", "answer": {"x": 1}}, "line 2: question must be a text"),
        ({"question": "a", "answer": "b", "context": ["c"]}, "line 2: either all rows have a context or none"),
    ],
)
def test_rows_that_cannot_be_asked(chat_model, tmp_path, capsys, row, message):
    asked = write(tmp_path / "rows.jsonl", [{"question": "a", "answer": "b"}, row])
    refuses(
        in_context.main,
        [
            "--models",
            f"m={chat_model}",
            "--rows",
            asked,
            "--verifier",
            "mentions",
            "--output",
            str(tmp_path / "o.json"),
            "--shots",
            "1",
        ],
        message,
        capsys,
    )


def test_in_context_runs(chat_model, world, tmp_path, capsys):
    argv = [
        "--models",
        f"m={chat_model}",
        "--rows",
        str(world / "probes/told.jsonl"),
        "--verifier",
        "names_choice",
        "--output",
        str(tmp_path / "new/out.json"),
        "--limit",
        "5",
        "--max_new_tokens",
        "4",
    ]
    in_context.main([*argv, "--shots", "0", "1", "16"])
    found = read(tmp_path / "new/out.json")["models"]["m"]
    assert (
        list(found["shots"]) == ["0", "1", "16"]
        and found["shots"]["16"]["n"] == 5
        and found["tokens"]["0"] < found["tokens"]["1"] < found["tokens"]["16"]
    )
    for more, message in [
        (["--shots", "17"], "context must be 17 texts"),
        (["--rows", str(world / "eval/compare.jsonl"), "--shots", "5000"], "too few for 5000 examples"),
        (["--verifier", "mention"], "mention"),
        (["--verifier", "countdown"], "line 1: the verifier cannot judge"),
        (["--limit", "0"], "limit at least 1"),
        (["--speakers", "", "Answer"], "speakers must be two"),
        (["--speakers", "Human"], "speakers must be two"),
        (["--reply", "It is."], "{answer}"),
        (["--rows", str(tmp_path / "none.jsonl")], "does not exist"),
    ]:
        refuses(in_context.main, [*argv, *more], message, capsys)


# ---- Dreams ----


def test_distinct_counts_trigrams_of_texts_of_one_length():
    assert dreams.distinct(["a b c d", "A b c e", "a b c d", "f g h i"], 9) == 5 / 8
    assert (
        dreams.distinct(["a b c d e f", "a b c x y z"], 3) == 1 / 2
        and dreams.distinct(["a b c d e f", "a b c x y z"], 4) == 3 / 4
    )
    assert dreams.distinct(["a", "", "b c"], 9) is None


def test_dreams_run(chat_model, tmp_path, capsys):
    argv = [
        "--models",
        f"m={chat_model}",
        "--output",
        str(tmp_path / "out.json"),
        "--samples",
        "8",
        "--max_new_tokens",
        "12",
    ]
    dreams.main([*argv, "--temperatures", "0.001", "1", "--begin", "<|endoftext|>"])
    cold, warm = read(tmp_path / "out.json")["models"]["m"].values()
    assert (
        set(cold) == {"different", "distinct_3", "repeated", "ended", "nats_per_token", "examples"}
        and 0 <= warm["repeated"]["value"] <= cold["repeated"]["value"] <= 1
    )
    assert warm["nats_per_token"]["value"] == pytest.approx(6.2, abs=1)  # of 512 tokens, all about as likely: ln 512
    assert (
        cold["different"]["value"] == 1 / 8
        and warm["different"]["value"] == 1
        and cold["nats_per_token"]["value"] < warm["nats_per_token"]["value"]
    )
    assert (cold["distinct_3"]["value"] or 0) < warm["distinct_3"]["value"] and len(warm["examples"]) == 5
    for more, message in [
        (["--begin", "<|no|>"], "--begin"),
        (["--begin", ""], "--begin"),
        (["--temperatures", "0.0001"], "at least 0.001"),
        (["--samples", "2"], "samples at least 4"),
    ]:
        refuses(dreams.main, [*argv, *more], message, capsys)


# ---- One prompt through a life ----


def test_moments_are_the_first_the_last_and_some_between():
    kept = [{"step": s, "prompt": p, "continuation": f"{p}{s}"} for s in range(0, 1201, 100) for p in "ab"]
    assert [m["model"] for m in life.moments(kept, "a")] == [
        "step 0",
        "step 100",
        "step 300",
        "step 1200",
    ] and life.moments(kept, "b")[1]["text"] == "b100"
    assert life.moments(kept[:1], "a") == [{"model": "step 0", "text": "a0"}] and life.moments(kept, "c") == []


def test_a_base_model_goes_on_and_a_chat_model_answers(chat_model, tmp_path, capsys):
    samples = write(
        tmp_path / "samples.jsonl",
        [{"step": 0, "prompt": "Once", "continuation": "x"}, {"step": 9, "prompt": "Once", "continuation": "y"}],
    )
    argv = [
        "--models",
        f"base={chat_model}",
        f"sft={chat_model}",
        "--output",
        str(tmp_path / "out.json"),
        "--max_new_tokens",
        "6",
    ]
    life.main([*argv, "--base", "base", "--samples", samples, "--prompts", "Who are you?", "Once"])
    found = read(tmp_path / "out.json")["life"]
    assert [one["prompt"] for one in found] == ["Once", "Who are you?"]
    assert [said["model"] for said in found[0]["replies"]] == ["step 0", "step 9", "base", "sft"] and [
        said["model"] for said in found[1]["replies"]
    ] == ["base", "sft"]
    assert found[1]["replies"][0]["text"] != found[1]["replies"][1]["text"]
    for row in (
        {"step": "5", "prompt": "a", "continuation": "b"},
        {"step": 5, "prompt": ["a"], "continuation": "b"},
        {"step": 5, "prompt": "a", "continuation": 5},
    ):
        refuses(
            life.main,
            [*argv, "--samples", write(tmp_path / "broken.jsonl", [row])],
            "line 1: step must be a whole number",
            capsys,
        )
    for more, message in [
        (["--base", "grpo"], "none of the models"),
        (["--prompts", " "], "no prompt empty"),
        (["--samples", str(tmp_path / "none")], "does not exist"),
    ]:
        refuses(life.main, [*argv, *more], message, capsys)


# ---- A jagged edge ----


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 10**6))
def test_a_pair_has_the_digits_and_the_larger_number_first(larger, smaller, same_whole, seed):
    a, b = jagged.pair(random.Random(seed), larger, smaller, same_whole)
    assert (
        [len(x.partition(".")[2]) for x in (a, b)] == [larger, smaller]
        and float(a) > float(b)
        and "0" not in a[-1] + b[-1]
    )
    assert (a[0] == b[0]) == same_whole


def test_the_map_counts_cell_by_cell(chat_model, tmp_path, capsys, monkeypatch):
    import eval.generation.generate

    real, asked = eval.generation.generate.generate, []

    def knows_two_digits(model, tokenizer, prompts, **options):
        """Right where both numbers have two digits behind the point, else it takes the longer one."""
        done = real(model, tokenizer, prompts, **(options | {"max_new_tokens": 1}))
        for prompt, (g,) in zip(prompts, done):
            asked.append(prompt[-1]["content"])
            numbers = re.findall(r"\d\.\d+", prompt[-1]["content"])
            g.text = (
                "The answer is"
                f" {max(numbers, key=float) if {len(n) for n in numbers} == {4} else max(numbers, key=len)}."
            )
        return done

    monkeypatch.setattr(eval.generation.generate, "generate", knows_two_digits)
    argv = ["--models", f"m={chat_model}", "--output", str(tmp_path / "out.json"), "--each", "6"]
    jagged.main([*argv, "--digits", "2", "--question", "Larger: {a} {b}"])
    for part in read(tmp_path / "out.json")["models"]["m"].values():
        assert {cell: m["value"] for cell, m in part.items() if cell != "1,1"} == {
            "1,2": 0,
            "2,1": 1,
            "2,2": 1,
        } and part["1,2"]["n"] == 6
        assert part["1,2"]["wrong"]["question"].startswith("Larger: ") and "wrong" not in part["2,2"]
    assert len(asked) == 2 * 4 * 6

    def base(model, tokenizer, prompts, **options):
        assert all(re.fullmatch(r"Question: Larger: (\S+) (\S+)\nAnswer: The answer is", prompt) for prompt in prompts)
        return [
            [eval.generation.generate.Generation(f" {max(re.findall(r'[0-9.]+', prompt), key=float)}.", [], True)]
            for prompt in prompts
        ]

    monkeypatch.setattr(eval.generation.generate, "generate", base)
    jagged.main([*argv, "--digits", "2", "--question", "Larger: {a} {b}", "--base", "m"])
    assert all(m["value"] == 1 for part in read(tmp_path / "out.json")["models"]["m"].values() for m in part.values())
    for more, message in [
        (["--digits", "10"], "from 1 to 9"),
        (["--question", "Which?"], "{a}"),
        (["--base", "x"], "none of the models"),
    ]:
        refuses(jagged.main, [*argv, *more], message, capsys)


@pytest.mark.parametrize("probe", [regurgitation, in_context, dreams, life, jagged])
def test_bad_input_of_every_probe(probe, chat_model, world, tmp_path, capsys):
    own = {
        regurgitation: ["--documents", str(world / "probes/rhymes")],
        in_context: ["--rows", str(world / "probes/told.jsonl"), "--verifier", "names_choice"],
    }.get(probe, [])
    argv = ["--output", str(tmp_path / "out.json"), *own]
    refuses(probe.main, ["--models", "m", *argv], "name=folder", capsys)
    refuses(probe.main, ["--models", f"m={tmp_path / 'none'}", *argv], "does not exist", capsys)
    refuses(
        probe.main, ["--models", f"m={chat_model}", *argv[2:], "--output", str(tmp_path)], "is no .json file", capsys
    )
    refuses(
        probe.main,
        ["--models", f"m={chat_model}", *argv[2:], "--output", f"{chat_model}/config.json"],
        "would replace what is read",
        capsys,
    )
    refuses(
        probe.main, ["--models", f"m={chat_model}", *argv[2:], "--output", f"{'x' * 300}.json"], "cannot write", capsys
    )
    assert not list(tmp_path.iterdir())


def test_a_reward_model_is_no_language_model(reward_model, tmp_path, capsys):
    refuses(
        jagged.main,
        ["--models", f"m={reward_model}", "--output", str(tmp_path / "out.json")],
        "is no language model",
        capsys,
    )


def test_lists_in_yaml_hold_what_they_should(tmp_path, capsys):
    for text, message in [
        ("models: [1]", "models must be a list of str, but holds 1"),
        ("temperatures: [hot]", "temperatures must be a list of float or int"),
        ("models: []", "--models takes name=folder"),
    ]:
        (tmp_path / "c.yaml").write_text(
            f"output: {tmp_path}/out.json\n{text}\n" + ("" if "models" in text else "models: [m=x]\n")
        )
        refuses(dreams.main, ["--config", str(tmp_path / "c.yaml")], message, capsys)


def test_what_was_written_before_stands_when_a_probe_fails(chat_model, tmp_path, capsys):
    (tmp_path / "out.json").write_text("old")
    refuses(
        life.main,
        ["--models", f"m={chat_model}", "--output", str(tmp_path / "out.json"), "--prompts", "a\ud800"],
        "half a surrogate pair",
        capsys,
    )
    assert (tmp_path / "out.json").read_text() == "old"


def test_bad_documents(learned, world, tmp_path, capsys):
    argv = ["--models", f"m={learned / 'model'}", "--output", str(tmp_path / "out.json")]
    short = write(tmp_path / "short.jsonl", [{"id": "0", "text": "a few words"}])
    train = ["--documents", str(learned / "train")]
    refuses(regurgitation.main, [*argv, "--documents", short], "no document has 64 tokens", capsys)
    refuses(regurgitation.main, [*argv, "--documents", str(tmp_path / "none")], "does not exist", capsys)
    refuses(
        regurgitation.main,
        [*argv, *train, "--unseen", str(learned / "train/0.jsonl")],
        "stands in the training documents",
        capsys,
    )
    refuses(regurgitation.main, [*argv, *train, "--prefix_tokens", "0"], "at least 1", capsys)
    assert not (tmp_path / "out.json").exists()
