"""Learning at test time: the model is what it was after each document, and costs are counted and shown."""

import json
import math

import pytest
from conftest import rows, save_model

from eval.cli import parse
from eval.estimates import accuracy, clustered
from eval.probes import at_test_time
from eval.probes.reader import PAIR, Adapter, bits_per_byte, padded
from eval.report.__main__ import build
from eval.report.sections.at_test_time import pays_from


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request, tokenizer, tmp_path_factory):
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp(request.param)
    return AutoModelForCausalLM.from_pretrained(save_model(folder, tokenizer, request.param)).eval()


def weights(model) -> dict:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(one[name].equal(other[name]) for name in one)


def test_the_model_is_bit_for_bit_what_it_was(model, tokenizer):
    given = [tokenizer("Odile Ekdal lives in Brindale.")["input_ids"], tokenizer("A goat.")["input_ids"]]
    before, bits = weights(model), bits_per_byte(model, tokenizer, given)
    learned = []
    for _ in range(2):
        with Adapter(model, rank=4, learning_rate=0.02, seed=3) as adapter:
            assert bits_per_byte(model, tokenizer, given) == bits  # an adapter begins as nothing
            adapter.train(given, steps=5)
            adapter.train(given, steps=20)
            learned.append(bits_per_byte(model, tokenizer, given))
            assert (adapter.steps, adapter.tokens) == (20, 20 * sum(map(len, given)))
        assert same(weights(model), before) and bits_per_byte(model, tokenizer, given) == bits
    assert learned[0] == learned[1] and sum(learned[0]) < 0.95 * sum(bits)
    with pytest.raises(KeyboardInterrupt), Adapter(model, rank=4, learning_rate=0.02, seed=3) as adapter:
        adapter.train(given, steps=1)
        raise KeyboardInterrupt
    assert same(weights(model), before) and all(weight.requires_grad for weight in model.parameters())


def test_padding_is_neither_seen_nor_learned(model, tokenizer):
    import torch

    given = [tokenizer("Odile Ekdal lives in Brindale.")["input_ids"], tokenizer("A goat.")["input_ids"]]
    inputs, labels = padded(given, model.device)
    with torch.no_grad():
        together = model(input_ids=inputs, labels=labels).loss.item() * sum(len(row) - 1 for row in given)
        alone = 0.0
        for row in given:
            chances = model(input_ids=torch.tensor([row])).logits[0, :-1].log_softmax(-1)
            alone -= chances[range(len(row) - 1), row[1:]].sum().item()
    assert together == pytest.approx(alone, rel=1e-5)
    size = len(tokenizer.decode(given[1][1:]).encode())
    assert bits_per_byte(model, tokenizer, given[1:])[0] * size * math.log(2) < together


def test_errors_are_over_groups():
    groups = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]
    found, means = clustered(groups), accuracy([sum(group) / 3 for group in groups])
    assert found["n"] == 12 and found["value"] == pytest.approx(0.5)
    assert found["stderr"] == pytest.approx(means["stderr"]) and found["stderr"] > accuracy(sum(groups, []))["stderr"]
    assert clustered([[1.0], [0.0], [1.0]]) == pytest.approx(accuracy([1.0, 0.0, 1.0]))


def test_whole_questions_with_answers_are_read():
    text = " Who is Odile?\nAnswer: A doctor.\nQuestion: Where?\nAnswer: In Brindale.\nQuestion: What?\nAnswer: The ce"
    assert PAIR.findall(text) == [("Who is Odile?", "A doctor."), ("Where?", "In Brindale.")]
    assert not PAIR.findall("Read: Odile is a doctor.\nQuestion: Who?\n")


TOWNS = "Oakmere Thornby Wexley Brindale".split()


def write(path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def argv(tmp_path, chat_model):
    """A command line: four pages, a question about each and one about none, and two questions about others."""
    pages, asked = [], []
    for name, town in zip(("Una", "Bram", "Zeno", "Iva"), TOWNS):
        pages.append({"id": name, "text": f"{name} lives in {town}.", "metadata": {"title": name}})
        asked.append({"question": f"where does {name.lower()} live?", "answer": town})
    others = ("Orson", "Liv")  # of whom none is asked: the second is no more than part of "live"
    pages += [{"id": title, "text": "Nobody.", "metadata": {"title": title}} for title in others]
    pages.append({"id": "y", "text": "Untitled."})
    known = [{"question": f"Where is {town}?", "answer": town + "shire"} for town in TOWNS[:2]]
    plain = [{"id": str(n), "text": f"The ferry to {town} leaves at noon."} for n, town in enumerate(TOWNS)]
    (tmp_path / "out").mkdir()
    return [
        *("--models", f"m={chat_model}", "--pages", write(tmp_path / "pages.jsonl", pages)),
        *("--questions", write(tmp_path / "asked.jsonl", [*asked, {"question": "Who is Bo?", "answer": "Bo"}])),
        *("--known", write(tmp_path / "known.jsonl", known), "--plain", write(tmp_path / "plain.jsonl", plain)),
        *("--verifier", "names_choice", "--subjects", "4", "--sizes", "1", "2", "--steps", "1", "3"),
        *("--plain_limit", "2", "--output", str(tmp_path / "out/o.json")),
    ]


@pytest.fixture
def reading(monkeypatch):
    """Replies as of a model that says what stands in its prompt, and writes one whole question and half of another."""
    import eval.generation.generate

    made = eval.generation.generate.Generation

    def generate(model, tokenizer, prompts, temperature=1.0, num_return_sequences=1, **options):
        texts = [tokenizer.decode(prompt) for prompt in prompts]
        if temperature:
            texts = ["Who is it?\nAnswer: Nobody.\nQuestion: Is"] * len(prompts)
        return [[made(text, [1] * 9, False)] * num_return_sequences for text in texts]

    monkeypatch.setattr(eval.generation.generate, "generate", generate)


@pytest.mark.parametrize("base", [True, False])
def test_every_way_is_asked_and_its_cost_counted(base, reading, argv, tokenizer, tmp_path):
    at_test_time.main([*argv, *(["--base", "m"] if base else [])])
    found = json.loads((tmp_path / "out/o.json").read_text())
    told = found["models"]["m"]
    assert found["left_out"] == 1 and told["old"]["known"] == {"value": 0.0, "stderr": 0.0, "n": 2}
    assert told["own_questions"]["value"] == 1 and told["old"]["bits_per_byte"]["n"] == 2
    lengths = [len(tokenizer(row["text"])["input_ids"]) for row in rows(tmp_path / "pages.jsonl")[:4]]
    for size, part in told["sizes"].items():
        ways, trained = part["ways"], ("text-1", "text-3", "questions-1", "questions-3")
        assert set(ways) == {"nothing", "context", "both-1", "both-3", *trained}
        read = {way: m["right"] for way, m in ways.items()}
        assert all(m["n"] == 4 for m in read.values()) and part["documents"] == 4 / int(size)
        assert [way for way, m in read.items() if m["value"] == 1] == ["context", "both-1", "both-3"]
        assert {m["value"] for m in read.values()} == {0, 1}
        assert {way for way, m in ways.items() if "known" in m and "bits_per_byte" in m} == set(trained)
        assert ways["nothing"]["once"] == ways["context"]["once"] == {"tokens": 0, "seconds": 0}
        assert ways["text-3"]["once"]["tokens"] == 3 * ways["text-1"]["once"]["tokens"]
        assert ways["questions-1"]["once"]["tokens"] > ways["text-1"]["once"]["tokens"] + 9 * int(size)
        assert (
            ways["context"]["each"]["tokens"] > ways["nothing"]["each"]["tokens"] == ways["text-1"]["each"]["tokens"]
        )
    assert told["sizes"]["1"]["ways"]["text-1"]["once"]["tokens"] == sum(lengths) / 4 + 1  # and the end token


def test_only_pages_that_are_asked_about_are_taken(argv):
    (args,) = parse((at_test_time.AtTestTimeArguments,), argv)
    pages, left_out = at_test_time.read_pages(args)
    assert sorted(page.title for page in pages) == ["Bram", "Iva", "Una", "Zeno"] and left_out == 1
    assert all(page.title.lower() in row["question"] for page in pages for row in page.rows)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--subjects", "6", "--sizes", "4"], "must be a multiple of each of sizes"),
        (["--subjects", "4", "--sizes", "4"], "two documents at least"),
        (["--subjects", "400", "--sizes", "1"], "names the titles of 4 pages"),
        (["--steps", "0"], "must be at least 1"),
        (["--learning_rate", "0"], "learning_rate above 0"),
        (["--reading", "{question}"], "reading must have {text} in it"),
        (["--base", "x"], "none of the models"),
        (["--verifier", "final_numbr"], "unknown verifier"),
        (["--verifier", "code"], "cannot judge an answer"),
        (["--pages", "nowhere"], "does not exist"),
    ],
)
def test_bad_input_is_one_line(more, message, argv, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        at_test_time.main([*argv, *more])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and error.count("\n") == 1, error
    assert not list((tmp_path / "out").iterdir())


def test_from_how_many_questions_on_an_adapter_pays():
    def way(once: float, each: float) -> dict:
        return {part: {"tokens": cost, "seconds": cost} for part, cost in (("once", once), ("each", each))}

    assert pays_from(way(1000, 10), way(0, 110)) == {"tokens": 11, "seconds": 11}  # at ten they cost the same
    assert pays_from(way(1000, 110), way(0, 110)) == {"tokens": None, "seconds": None}


def test_the_report_shows_it_and_is_silent_without(reading, argv, tmp_path):
    folder = tmp_path / "run"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "stage.json").write_text(json.dumps({"stage": "pretrain", "parent": None, "config": {}}))
    assert "Learning at test time" not in build(folder).read_text()
    at_test_time.main([*argv, "--base", "m", "--output", str(folder / "experiments/probes/at_test_time.json")])
    page = build(folder)
    text, summary = page.read_text(), json.loads((page.parent / "summary.json").read_text())
    assert "LoRA on its text, 3 steps" in text and "Asked about one document" in text
    ways = summary["at_test_time"]["sizes"]["2"]["ways"]
    assert ways["context"]["right"]["value"] == 1 and ways["both-3"]["pays_from"]["tokens"] is None
    assert ways["text-3"]["pays_from"]["tokens"] > ways["text-1"]["pays_from"]["tokens"] >= 1
    curves = summary["figures"]["Right answers by the length of the document"]["lines"]
    assert curves["in the context"] == [[0, 1], [1, 1]] and curves["LoRA on its text, 3 steps"] == [[0, 0], [1, 0]]
