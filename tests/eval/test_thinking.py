"""Thinking in generation and in lm-eval's tasks: what is scored is what stands behind it."""

from types import SimpleNamespace

import pytest

from eval.checking.thinking import cut, opened, thinks


@pytest.mark.parametrize(
    "text, stops, kept",
    [
        ("4\nQuestion: more", ["Question:"], "4\n"),
        ("\n\n4", ["\n\n"], ""),  # without thinking, as lm-eval cuts
        ("<think>a\n\nb</think>\n\n7\n\nmore", ["\n\n"], "<think>a\n\nb</think>\n\n7"),
        ("<think>Question: a", ["Question:"], "<think>Question: a"),
        ("[THINK]def f[/THINK]x = 1\ndef g", ["\ndef"], "[THINK]def f[/THINK]x = 1"),
        ("analysisPerhaps\nQ: assistantfinal4\nQ: no", ["Q:"], "analysisPerhaps\nQ: assistantfinal4\n"),
        ("write `<think>` and stop here", ["stop"], "write `<think>` and "),
        ("ab", ["", "b"], "a"),
    ],
)
def test_stop_strings_in_thinking_do_not_count(text, stops, kept):
    assert cut(text, stops) == kept


def test_what_a_prompt_opens():
    assert opened("<|im_start|>assistant\n<think>\n") == "<think>\n"
    assert opened("<|im_start|>assistant\n<think>\n\n</think>\n\n") == ""
    assert opened("Assistant: [THINK]") == "[THINK]" and opened("What is <think>?") == ""


@pytest.mark.parametrize("text", ["The answer is 5.", "a < b and c > d", "Use `<think>`.", "an analysis of it"])
def test_texts_without_thinking(text):
    assert not thinks(text)


@pytest.fixture(scope="module")
def tokenizer():
    from data_prep.tokenizer import train

    return train(["What is 2 + 2? The answer is 4."] * 9, vocab_size=300)


def says(monkeypatch, tokenizer, texts: list[str], **settings) -> list[str]:
    """What lm-eval's tasks score where the model says `texts`."""
    from eval.generation.generate import Generation
    from eval.lm_harness import model as harness

    class Model(harness.Generates):
        max_gen_toks, max_length, batch_size, model = 16, 256, 4, None

    Model.tokenizer = tokenizer
    asked = {"until": [], "max_gen_toks": 16, "temperature": 0.0} | settings
    requests = [SimpleNamespace(task_name="t", args=(f"What is {k}?", asked)) for k, _ in enumerate(texts)]
    monkeypatch.setattr(harness, "generate", lambda *_, **__: [[Generation(text, [1], True)] for text in texts])
    return Model().generate_until(requests)


def test_no_task_scores_thinking(monkeypatch, tokenizer):
    told = {
        "<think>Perhaps #### 5? No.</think>2 + 2 = 4\n#### 4": "2 + 2 = 4\n#### 4",
        "Perhaps 5.</think>\n\n4": "4",
        "<think>It never ends: #### 5": "",
        "<think>\n\n</think>\n\n 4 ": "4",
        "analysisPerhaps 5.assistantfinal4": "4",
        "  4 stays as it is \n": "  4 stays as it is \n",
        "": "",
    }
    assert says(monkeypatch, tokenizer, list(told)) == list(told.values())


def greedy(tokenizer, reply: str, opening: str = "", **settings):
    """What a model says that says `reply`, and nothing else, behind a header that ends on `opening`."""
    import torch
    from transformers import GenerationConfig

    from eval.generation.generate import generate

    ids = tokenizer.encode(reply)
    header = tokenizer.encode(f"a{opening}")

    class Says(torch.nn.Module):
        device = torch.device("cpu")
        config = SimpleNamespace(get_text_config=lambda decoder=None: SimpleNamespace(num_hidden_layers=1))
        generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)

        def forward(self, input_ids, attention_mask, past_key_values, use_cache):
            written = attention_mask.shape[1] - len(header)
            logits = torch.zeros(*input_ids.shape, len(tokenizer))
            logits[:, -1, ids[written]] = 1.0
            return SimpleNamespace(logits=logits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eval.generation.sampler.growing_cache", lambda _: SimpleNamespace())
        return generate(Says().eval(), tokenizer, [header], max_new_tokens=60, temperature=0, **settings)[0][0]


def test_generation_goes_on_in_a_thought(tokenizer):
    end = tokenizer.eos_token
    found = greedy(tokenizer, f"<think>Is it 5?\n\nNo.</think>\n\nIt is 4.\n\nAnd 5.{end}", stop_strings=["\n\n"])
    assert found.text == "<think>Is it 5?\n\nNo.</think>\n\nIt is 4." and not found.finished
    found = greedy(tokenizer, f"Is it 5?\n\nNo.</think>It is 4.{end}", "<think>\n", stop_strings=["\n\n"])
    assert found.text == "<think>\nIs it 5?\n\nNo.</think>It is 4." and found.finished
    assert greedy(tokenizer, f"Is it 5?{end}", "<think>").text == "<think>Is it 5?"  # an end without a reply
    assert greedy(tokenizer, f"It is 4.\n\nAnd 5.{end}", stop_strings=["\n\n"]).text == "It is 4."


@pytest.mark.parametrize(
    "text",
    [
        "<longcat_think>Q</longcat_think>b",
        "<mm:think>Q</mm:think>b",
        "<|think|>Q<|/think|>b",
        "&lt;think&gt;Q&lt;/think&gt;b",
        "<think>Q</think\n>b",
    ],
)
def test_further_marks_of_thinking(text):
    from eval.checking.thinking import visible

    assert visible(text) == "b" and thinks(text) and visible(text[: text.index("Q") + 1]) == ""
