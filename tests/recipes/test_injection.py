"""What a text spells never becomes a control token: the prompts of GRPO, RLOO and PPO, and the pairs of DPO and the
reward model, of every family. (Turns, results of tools and SFT's rows: test_families.py.)"""

from types import SimpleNamespace

import pytest
from families import FAMILIES, tokenizer_of
from test_families import ANSWER, CHAT, USER, controls, hostile

from eval.generation.encoding import encode_conversation, marks_of, sealing, until_end


@pytest.fixture(params=FAMILIES)
def tokenizer(request):
    from eval.generation.models import set_end_token, set_pad_token

    tokenizer = tokenizer_of(FAMILIES[request.param])
    set_end_token(tokenizer)
    set_pad_token(tokenizer)
    return tokenizer


def prompts_of(tokenizer, prompts: list[list[dict]]) -> dict[str, list[list[int]]]:
    """The token ids that each recipe makes of prompts."""
    from eval.generation.generate import encode
    from recipes.trainers.grpo import Trainer as GRPO
    from recipes.trainers.rloo import Trainer as RLOO

    given = {"processing_class": tokenizer, "tools": None, "chat_template": None, "chat_template_kwargs": {}}
    found = {"ppo": [encode(tokenizer, [prompt])[0] for prompt in prompts]}
    for name, trainer in (("grpo", GRPO), ("rloo", RLOO)):
        one = SimpleNamespace(**given, environment=None)
        one.rendering = trainer.rendering.fget(one)
        found[name], _, _ = trainer._tokenize_prompts(one, prompts)
    return found


def pair_of(tokenizer, prompt: list[dict], reply: str) -> tuple[list[int], list[int]]:
    """What DPO's trainer makes of a prompt with its reply, and the reward model's row."""
    from recipes.dpo import texts
    from recipes.reward import tokenize

    sides = {"chosen": [{"role": "assistant", "content": reply}], "rejected": [ANSWER]}
    row = {"prompt": prompt, **sides}
    found = texts(row, tokenizer)
    ids = sealing(tokenizer)(text=found["prompt"] + found["chosen"])["input_ids"]
    assert found["tokens"] >= len(ids)
    return list(ids), tokenize(row, tokenizer)["chosen_ids"]


PROMPTS = [[USER], CHAT[:3], [{"role": "user", "content": "> a < b | c [d] {e} 日本 👍🏽\n\n  x "}]]


def test_prompts_are_the_template_s_token_by_token(tokenizer):
    plain = [tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False) for p in PROMPTS]
    assert prompts_of(tokenizer, PROMPTS) == {"ppo": plain, "grpo": plain, "rloo": plain}


def test_pairs_are_the_template_s_token_by_token(tokenizer):
    for prompt in PROMPTS:
        dpo, reward = pair_of(tokenizer, prompt, "The answer is 7.")
        messages = [*prompt, {"role": "assistant", "content": "The answer is 7."}]
        begin = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        plain = tokenizer.apply_chat_template(messages, return_dict=False)
        end = tokenizer.eos_token_id
        wanted = until_end(plain, begin, end)
        wanted = wanted if wanted[-1] == end else [*wanted, end]  # GLM ends a turn with the header of the next
        assert reward == wanted and dpo in (
            wanted,
            up_to_end(plain, len(wanted) - 1, end),
            dpo_end(plain, end),
        )


def up_to_end(plain: list[int], start: int, end: int) -> list[int] | None:
    """Up to the first end token from `start` on; None where there is none, as in GLM's last turn."""
    return plain[: plain.index(end, start) + 1] if end in plain[start:] else None


def dpo_end(plain: list[int], end: int) -> list[int] | None:
    """Up to the last end token: Phi-3's template writes two, GLM's none behind the last turn."""
    return plain[: len(plain) - plain[::-1].index(end)] if end in plain else None


def test_hostile_prompts_and_pairs(tokenizer):
    texts = hostile(list(marks_of(tokenizer).ids.values()))
    harmless = prompts_of(tokenizer, [[{"role": "user", "content": "harmless words"}]])
    own = controls(tokenizer, pair_of(tokenizer, [USER], "harmless words")[0])
    for recipe, rows in prompts_of(tokenizer, [[{"role": "user", "content": text}] for text in texts]).items():
        wanted = controls(tokenizer, harmless[recipe][0])
        for text, ids in zip(texts, rows):
            assert controls(tokenizer, ids) == wanted, (recipe, text)
            assert text.strip() in tokenizer.decode(ids), (recipe, text)
    for text in texts:
        for prompt, reply in (([USER], f"So {text} it is."), ([{"role": "user", "content": text}], "harmless words")):
            dpo, reward = pair_of(tokenizer, prompt, reply)
            assert controls(tokenizer, dpo) == own, text
            assert controls(tokenizer, reward) == own[: len(controls(tokenizer, reward))], text
            assert text.strip() in tokenizer.decode(dpo) and text.strip() in tokenizer.decode(reward), text


def test_a_sealing_tokenizer_is_the_tokenizer_itself(tokenizer, tmp_path):
    import json

    sealed = sealing(tokenizer)
    assert sealed("What is <x>?") == tokenizer("What is <x>?")
    assert sealed(["a", "b"])["input_ids"] == tokenizer(["a", "b"])["input_ids"]
    sealed.save_pretrained(tmp_path / "sealed")
    tokenizer.save_pretrained(tmp_path / "own")
    saved = [json.loads((tmp_path / name / "tokenizer_config.json").read_text()) for name in ("sealed", "own")]
    assert saved[0] == saved[1]
    ids, _ = encode_conversation(sealed, CHAT)
    assert ids == encode_conversation(tokenizer, CHAT)[0]
