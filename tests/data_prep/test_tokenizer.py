"""The tokenizer loses nothing; its template marks what carries loss and renders calls; replies are read back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import tokenizer as tokenizer_module

ALL_TOKENS = tokenizer_module.SPECIAL_TOKENS + tokenizer_module.TOOL_TOKENS + tokenizer_module.THINK_TOKENS


def any_text():
    """Any Unicode text, now and then with the special tokens in it."""
    piece = st.one_of(
        st.text(), st.sampled_from([*ALL_TOKENS, "<|", "don 't", " .", "\r\n", "\u200b", "e\u0301", "🏳️‍🌈", "  "])
    )
    return st.lists(piece, max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=any_text())
def test_decoding_gives_the_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(number=st.from_regex(r"[0-9]{1,12}", fullmatch=True))
@settings(max_examples=50, deadline=None)
def test_digits_stand_one_by_one(tokenizer, number):
    ids = tokenizer.encode(f"a{number} b")
    assert [tokenizer.decode([i]) for i in ids if tokenizer.decode([i]).strip().isdigit()] == list(number)


def test_special_tokens(tokenizer):
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|pad|>" and len(set(ALL_TOKENS)) == 12
    assert tokenizer.convert_tokens_to_ids(list(tokenizer_module.SPECIAL_TOKENS)) == [0, 1, 2, 3]
    for token in ALL_TOKENS:  # one token each, wherever a text spells it
        assert tokenizer.encode(f"7{token}7")[1:-1] == [tokenizer.convert_tokens_to_ids(token)]
    kept = tokenizer.decode(tokenizer.encode("".join(ALL_TOKENS)), skip_special_tokens=True)
    assert kept == "".join(
        tokenizer_module.TOOL_TOKENS + tokenizer_module.THINK_TOKENS
    )  # what rewards and parsers read
    header = tokenizer.encode("<|im_start|>assistant\n")
    assert len(header) == 3  # a header costs the mark, the role and the line break


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am Tumbler."},
    {"role": "user", "content": "And what is 3 + 4?"},
    {"role": "assistant", "content": "The answer is 7."},
]


def test_chat_template_and_its_mask(tokenizer):
    out = tokenizer.apply_chat_template(MESSAGES, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = out["input_ids"], out["assistant_masks"]
    learned = tokenizer.decode([i for i, m in zip(ids, mask) if m])
    assert learned == "I am Tumbler.<|im_end|>The answer is 7.<|im_end|>"
    assert ids[-1] == tokenizer.eos_token_id and mask[-1] == 1  # nothing stands behind the last turn
    text = tokenizer.decode(ids)
    assert text.count("<|im_end|>") == 5 and text.endswith("The answer is 7.<|im_end|>")
    assert text.startswith(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_prompt_is_the_beginning_of_its_conversation(tokenizer):
    """What the policy continues is token for token what it was trained on."""
    for end in (2, 4):
        prompt = tokenizer.apply_chat_template(MESSAGES[:end], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(MESSAGES[: end + 1], return_dict=False)
        assert whole[: len(prompt)] == prompt


def test_vocab_size(tokenizer, tmp_path, capsys):
    assert len(tokenizer) == 512
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(SystemExit) as exit_:
        tokenizer_module.main(
            ["--sources", f"{tmp_path}/a.jsonl", "--output_dir", str(tmp_path / "out"), "--vocab_size", "267"]
        )
    assert exit_.value.code == 2 and "vocab_size must be at least 268" in capsys.readouterr().err
    tokenizer_module.main(
        ["--sources", f"{tmp_path}/a.jsonl", "--output_dir", str(tmp_path / "out"), "--vocab_size", "268"]
    )


@pytest.mark.parametrize(
    "row",
    [
        '{"body": "a"}',
        "{",
        '{"text": "\\ud800"}',
        '{"messages": [{"role": "assistant", "tool_calls": [{"arguments": 3}]}]}',
    ],
)
def test_sources_without_text_are_refused(tmp_path, capsys, row):
    (tmp_path / "a.jsonl").write_text(row + "\n")
    with pytest.raises(SystemExit) as exit_:
        tokenizer_module.main(["--sources", f"{tmp_path}/a.jsonl", "--output_dir", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and "a.jsonl" in error
    assert not (tmp_path / "out").exists()


def test_all_of_a_conversation_is_read():
    turn = {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm",
        "tool_calls": [call("search", query="who", k=None)],
    }
    row = json.dumps({"messages": [{"role": "user", "content": "a"}, turn]})
    assert tokenizer_module._texts_of(row, "here") == ["a", "hm", "who"]


# ---- Tools and thinking ----


def call(name: str, **arguments) -> dict:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


WITH_TOOLS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who is Orson Kovats?"},
    {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "hm",
        "tool_calls": [call("search", query="Orson Kovats")],
    },
    {"role": "tool", "name": "search", "content": "nobody"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [call("python", query=None, code="x = 1\nprint(x)"), {"name": "python", "arguments": {}}],
    },
    {"role": "tool", "name": "python", "content": "1"},
    {"role": "tool", "name": "python", "content": ""},
    {"role": "assistant", "content": "I do not know."},
]


def search(query: str) -> str:
    """Look something up.

    Args:
        query: what
    """
    return f"nothing about {query}"


def python(query: str) -> str:
    """Run Python
    code.

    Args:
        query: the code
    """
    return str(eval(query, {}))


def anything(a: list[dict], b: int | str | None = None, c=None):
    """No types.

    Args:
        a: a
        b: b
        c: c
    """


def now():
    """The time."""


anything.__annotations__["c"] = object


def test_calls_in_the_template(tokenizer):
    text = tokenizer.apply_chat_template(WITH_TOOLS, tokenize=False)
    assert (
        text == "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWho is Orson Kovats?<|im_end|>\n"
        "<|im_start|>assistant\n<think>hm</think>Let me look."
        "<|search_start|>Orson Kovats<|search_end|><|im_end|>\n"
        "<|im_start|>tool\n<|output_start|>nobody<|output_end|><|im_end|>\n"
        "<|im_start|>assistant\n<|python_start|>x = 1\nprint(x)<|python_end|>"
        "<|python_start|><|python_end|><|im_end|>\n"
        "<|im_start|>tool\n<|output_start|>1<|output_end|><|im_end|>\n"
        "<|im_start|>tool\n<|output_start|><|output_end|><|im_end|>\n"
        "<|im_start|>assistant\nI do not know.<|im_end|>"
    )
    out = tokenizer.apply_chat_template(WITH_TOOLS, return_dict=True, return_assistant_tokens_mask=True)
    learned = tokenizer.decode([i for i, m in zip(out["input_ids"], out["assistant_masks"]) if m])
    turns = [part.partition("<|im_start|>assistant\n")[2] for part in text.split("<|im_end|>")]
    assert learned == "".join(turn + "<|im_end|>" for turn in turns if turn)  # calls do, results never
    other = [
        WITH_TOOLS[1],
        {"role": "assistant", "content": "", "tool_calls": [call("weather", city="Rome", days=3, far=True)]},
    ]
    assert tokenizer.apply_chat_template(other, tokenize=False).endswith(
        "<|python_start|>weather(city='Rome', days=3, far=True)<|python_end|><|im_end|>"
    )


def test_tools_in_the_template(tokenizer):
    from transformers.utils import get_json_schema

    def head(messages, tools):
        return tokenizer.apply_chat_template(messages, tools=tools, tokenize=False).partition("<|im_end|>")[0]

    tools = [search, get_json_schema(python), get_json_schema(now)["function"], {"name": "bare"}]
    lines = "Tools:\nsearch\npython\nnow(): The time.\nbare()"  # the vocabulary knows the first two
    assert head(WITH_TOOLS, tools) == "<|im_start|>system\nBe brief.\n" + lines
    assert head(WITH_TOOLS[1:], tools) == "<|im_start|>system\n" + lines
    try:
        schema = get_json_schema(anything)
    except Exception:  # a hint without a schema
        schema = {
            "name": "anything",
            "description": "No types.",
            "parameters": {"properties": {"a": {}, "b": {"anyOf": []}, "c": {"type": ["string"]}}},
        }
    assert head(WITH_TOOLS, [schema]).endswith("\nanything(a, b, c): No types.")
    plain = tokenizer.apply_chat_template(WITH_TOOLS, tokenize=False)
    assert tokenizer.apply_chat_template(WITH_TOOLS, tools=[], tokenize=False) == plain
    with_tools = tokenizer.apply_chat_template(WITH_TOOLS, tools=tools, tokenize=False)
    assert with_tools.partition("<|im_end|>")[2] == plain.partition("<|im_end|>")[2]


@pytest.mark.parametrize(
    "turn, message",
    [
        ({"content": "", "tool_calls": [call("search", query="a", k=3)]}, "one argument, but here it has query, k"),
        ({"content": "", "tool_calls": [{"name": "search", "arguments": '{"query": "a"}'}]}, "must be a mapping"),
        ({"content": None}, "content"),
        ({"content": [{"type": "text", "text": "a"}]}, None),
    ],
)
def test_what_cannot_be_rendered_raises(tokenizer, turn, message):
    with pytest.raises(Exception, match=message):
        tokenizer.apply_chat_template([WITH_TOOLS[1], {"role": "assistant", **turn}], tokenize=False)


def test_what_trl_asks_of_a_template(tokenizer):
    from trl.chat_template_utils import (
        get_training_chat_template,
        is_chat_template_prefix_preserving,
        is_chat_template_stop_token_trained,
        supports_tool_calling,
    )

    assert supports_tool_calling(tokenizer) and is_chat_template_prefix_preserving(tokenizer)
    assert is_chat_template_stop_token_trained(tokenizer) and get_training_chat_template(tokenizer) is None
    ids = tokenizer.apply_chat_template(WITH_TOOLS, tools=[search], return_dict=False)
    for end in range(2, len(WITH_TOOLS)):
        begun = tokenizer.apply_chat_template(WITH_TOOLS[:end], tools=[search], return_dict=False)
        assert ids[: len(begun)] == begun
        if WITH_TOOLS[end]["role"] == "assistant":
            prompt = tokenizer.apply_chat_template(
                WITH_TOOLS[:end], tools=[search], add_generation_prompt=True, return_dict=False
            )
            assert ids[: len(prompt)] == prompt


def parsed(tokenizer, reply: str, prompt=MESSAGES[:2]) -> dict:
    """What TRL reads in a reply."""
    from trl.chat_template_utils import parse_response

    prefix = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    return parse_response(tokenizer, tokenizer.encode(reply), prefix=prefix)


S, E, P, Q = tokenizer_module.TOOL_TOKENS[:4]


@pytest.mark.parametrize(
    "reply, content, calls, thinking",
    [
        ("I am Tumbler.<|im_end|>", "I am Tumbler.", [], None),
        (" cut off in the mid", " cut off in the mid", [], None),
        (f"Let me look.{S}Orson{E}<|im_end|>", "Let me look.", [("search", "Orson")], None),
        (f"<think>hm\n</think>{P}\tx = 1\n{Q}<|im_end|>", "", [("python", "\tx = 1\n")], "hm\n"),
        (f"{S}a{E}{P}b{Q}<|im_end|>", "", [("search", "a"), ("python", "b")], None),
        (
            f"{S}a{E}b{P}c{Q}d<|im_end|>",
            "bd",
            [("search", "a"), ("python", "c")],
            None,
        ),  # words stay, their place does not
        (f"{S}a{E}<|im_end|> junk{S}b{E}<|im_end|>", "", [("search", "a")], None),  # the turn was over
        (f"{S}a{E}", "", [("search", "a")], None),  # called, then cut off
        (f"{S}{E}<|im_end|>", "", [("search", "")], None),
        (f"{S}a<|im_end|>", f"{S}a", [], None),  # no end mark: no call
        (f"{S}a", f"{S}a", [], None),
        (f"{S}a{Q}b{E}<|im_end|>", f"{S}a{Q}b{E}", [], None),
        (f"{S}a{P}b{Q}<|im_end|>", f"{S}a", [("python", "b")], None),
        (
            f"a{E}b<|output_start|>7<|output_end|><|im_end|>",
            f"a{E}b<|output_start|>7<|output_end|>",
            [],
            None,
        ),  # an invented result is words
        (f"<think>a {S}b{E}</think>c<|im_end|>", "c", [], f"a {S}b{E}"),  # a thought is not a call
        (f"<think>a {S}b{E}<|im_end|>", "", [], f"a {S}b{E}"),
        ("<think>a", "", [], "a"),
        ("<think></think>a<|im_end|>", "a", [], None),
        ("a</think>b<|im_end|>", "a</think>b", [], None),
        ("a<|im_start|>b<|endoftext|>c<|pad|>", "abc", [], None),  # as in decoding without special tokens
    ],
)
def test_replies_are_read(tokenizer, reply, content, calls, thinking):
    for prompt in (MESSAGES[:2], WITH_TOOLS[:4]):
        message = {"role": "assistant", "content": content}
        if calls:
            message["tool_calls"] = [call(name, query=query) for name, query in calls]
        if thinking:
            message["reasoning_content"] = thinking
        assert parsed(tokenizer, reply, prompt) == message


@settings(max_examples=100, deadline=None)
@given(
    content=st.text(max_size=9),
    thinking=st.text(max_size=9),
    queries=st.lists(st.tuples(st.sampled_from(["search", "python"]), st.text(max_size=9)), max_size=3),
)
def test_a_turn_is_read_as_it_was_rendered(tokenizer, content, thinking, queries):
    turn = {"role": "assistant", "content": content}
    if thinking:
        turn["reasoning_content"] = thinking
    if queries:
        turn["tool_calls"] = [call(name, query=query) for name, query in queries]
    prompt = tokenizer.apply_chat_template(MESSAGES[:2], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*MESSAGES[:2], turn], tokenize=False)
    assert parsed(tokenizer, whole.removeprefix(prompt)) == turn


def test_grpo_runs_the_tools(tokenizer, chat_model, tmp_path):
    """One step of TRL's GRPO in which two of four completions call tools: results come back in their turn and carry no
    loss."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    replies = [
        "<think>sum</think><|python_start|>3 + 4<|python_end|><|im_end|>",
        "<|search_start|>three<|search_end|><|python_start|>1 / 0<|python_end|><|im_end|>",
        "<|search_start|>three<|im_end|>",
        "It is 7.<|im_end|>",
    ]
    prompts, seen, masks = [], [], []

    class Trainer(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            prompts.append([tokenizer.decode(ids) for ids in prompt_ids])
            said = replies if len(prompts) == 1 else ["So it is."] * len(prompt_ids)
            return [tokenizer.encode(text) for text in said], None

        def _tool_call_loop(self, *args, **kwargs):
            out = super()._tool_call_loop(*args, **kwargs)
            masks.extend(zip(out[0], out[2]))
            return out

    def reward(completions, **kwargs):
        seen.extend(completions)
        return [float(len(c)) for c in completions]

    config = GRPOConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=128,
        max_steps=1,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
    )
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": "What is 3 + 4?"}]}] * 2)
    model = AutoModelForCausalLM.from_pretrained(chat_model)
    trainer = Trainer(
        model=model,
        reward_funcs=[reward],
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
        tools=[search, python],
    )
    trainer.train()
    assert (
        prompts[0][0] == "<|im_start|>system\nTools:\nsearch\npython<|im_end|>\n"
        "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n"
    )
    results = [
        "\n<|im_start|>tool\n<|output_start|>7<|output_end|><|im_end|>\n<|im_start|>assistant\n",
        (
            "\n<|im_start|>tool\n<|output_start|>nothing about"
            " three<|output_end|><|im_end|>\n<|im_start|>tool\n<|output_start|>{'error': 'division by"
            " zero'}<|output_end|><|im_end|>\n<|im_start|>assistant\n"
        ),
    ]
    assert prompts[1] == [prompts[0][i] + replies[i] + results[i] for i in (0, 1)]
    assert [tokenizer.decode([i for i, m in zip(ids, mask) if not m]) for mask, ids in masks] == [*results, "", ""]
    assert [[m["role"] for m in c] for c in seen] == [
        ["assistant", "tool", "assistant"],
        ["assistant", "tool", "tool", "assistant"],
        ["assistant"],
        ["assistant"],
    ]
    assert trainer.state.log_history[0]["tools/call_frequency"] == 0.75
