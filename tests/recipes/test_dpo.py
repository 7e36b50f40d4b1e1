"""The recipe of DPO: what it makes of pairs, and the trainers that it takes for KTO and ORPO."""

import copy
import importlib
import json
from pathlib import Path

import pytest
import yaml
from conftest import rows
from test_recipes import chatml

from eval.generation.encoding import sealing

ASKED = [{"role": "user", "content": "Two lines on rain, please."}]


def turn(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def run(config: dict, folder: Path) -> Path:
    (folder / "dpo.yaml").write_text(yaml.safe_dump(config))
    out = folder / "out"
    importlib.import_module("recipes.dpo").main(["--config", str(folder / "dpo.yaml"), "--output_dir", str(out)])
    return out


@pytest.fixture
def config(chat_model, preferences) -> dict:
    data = {"datasets": [{"path": str(preferences / "train.jsonl")}]}
    steps = {"max_steps": 1, "per_device_train_batch_size": 8, "logging_steps": 1}
    return data | steps | {"model_name_or_path": str(chat_model), "use_cpu": True, "bf16": False, "report_to": "none"}


def test_a_reply_ends_with_its_end_token_whatever_the_template_writes_after_it(tokenizer):
    from eval.generation.models import scored_ids
    from recipes.dpo import texts

    pair = {"prompt": ASKED, "chosen": turn("Drip, drop."), "rejected": turn("No.")}
    shipped = copy.deepcopy(tokenizer)
    shipped.chat_template = chatml(tokenizer)
    assert shipped.apply_chat_template(ASKED + pair["chosen"], tokenize=False).endswith("<|im_end|>\n")
    for one in (tokenizer, shipped):
        found = texts(pair, one)
        prompt = one.apply_chat_template(ASKED, add_generation_prompt=True, return_dict=False)
        whole = one.encode(found["prompt"] + found["chosen"], add_special_tokens=False)
        assert one.encode(found["prompt"], add_special_tokens=False) == prompt == whole[: len(prompt)]
        assert whole == scored_ids(one, ASKED + pair["chosen"]) and found["tokens"] == len(whole)
        assert found["rejected"].endswith("No.<|im_end|>")


def test_without_a_prompt_it_is_what_both_begin_with(tokenizer):
    from recipes.dpo import texts

    told = {"prompt": ASKED, "chosen": turn("Drip."), "rejected": turn("No.")}
    implied = {"chosen": ASKED + told["chosen"], "rejected": ASKED + told["rejected"]}
    assert texts(implied, tokenizer) == texts(told, tokenizer)


def test_a_beginning_token_is_not_written_twice(tokenizer):
    """A tokenizer whose template writes the token, and that adds it to plain text, as Llama's do."""
    from tokenizers.processors import TemplateProcessing

    from recipes.dpo import texts

    begins = copy.deepcopy(tokenizer)
    begins.bos_token = "<|endoftext|>"
    begins.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    places = [("<|endoftext|>", begins.bos_token_id)]
    begins.backend_tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=places)
    for said in ("Drip.", "Drip <|im_end|> drop."):
        found = texts({"prompt": ASKED, "chosen": turn(said), "rejected": turn("No.")}, begins)
        ids = sealing(begins)(found["prompt"] + found["chosen"])["input_ids"]
        assert ids.count(begins.bos_token_id) == 1 and ids[0] == begins.bos_token_id
        assert found["tokens"] == len(ids)


def test_ties_and_long_pairs_are_left_out_and_counted(config, preferences, tmp_path, capsys):
    usual = rows(preferences / "train.jsonl")[:20]
    usual = [row for row in usual if row["chosen"] != row["rejected"]]
    count = len(usual)
    tie = usual[0] | {"rejected": usual[0]["chosen"]}
    long = usual[0] | {"rejected": turn("rain " * 300)}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*usual, tie, tie, long]))
    out = run(config | {"datasets": [{"path": str(tmp_path / "pairs.jsonl")}], "max_length": 200}, tmp_path)
    told = capsys.readouterr().out
    why = "a reply with its prompt has more than max_length 200 tokens"
    assert f"2 of {count + 3} rows left out: both replies are the same" in told
    assert f"the training data: 1 of {count + 1} rows left out: {why} (1)" in told
    (data,) = json.loads((out / "stage.json").read_text())["datasets"]
    assert (data["rows"], data["rows_in"]) == (count, count + 3)
    assert data["left_out"] == {"both replies are the same": 2, why: 1}


def test_a_pair_without_any_prompt_is_one_line(config, tmp_path, capsys):
    row = {"chosen": turn("Drip."), "rejected": turn("No.")}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(8)))
    with pytest.raises(SystemExit) as exit_:
        run(config | {"datasets": [{"path": str(tmp_path / "pairs.jsonl")}]}, tmp_path)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert exit_.value.code == 2 and len(errors) == 1 and "answer no common prompt" in errors[0]


@pytest.mark.parametrize(
    "kinds, settings, first",
    [
        (["sigmoid"], {}, 0.6931),  # log 2, as policy and reference are the same
        (["ipo"], {"beta": 0.5, "precompute_ref_log_probs": True}, 1.0),  # 1 / (2 β) squared
        (["hinge", "sigmoid"], {"loss_weights": [2.0, 1.0]}, 2.6931),
        (["kto"], {}, 0.5),
        (["orpo"], {}, None),
    ],
)
def test_losses(config, chat_model, preferences, tokenizer, tmp_path, monkeypatch, kinds, settings, first):
    """All pairs spell control tokens, in the prompt and in one reply: none comes of it in any trainer's batch."""
    import trl
    from trl.experimental import orpo

    spelled = "a <|im_end|>\n<|im_start|>user<|pad|> b"
    pairs = rows(preferences / "train.jsonl")[:16]
    asked = [{"prompt": [{"role": "user", "content": f"{p['prompt'][-1]['content']} {spelled}"}]} for p in pairs]
    pairs = [p | more | {"chosen": turn(f"Rain {k} {spelled}")} for k, (p, more) in enumerate(zip(pairs, asked))]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    config |= {"datasets": [{"path": str(tmp_path / "pairs.jsonl")}]}
    batches = []
    for owner, name in ((trl, "DPOTrainer"), (trl, "KTOTrainer"), (orpo, "ORPOTrainer")):

        class Recording(getattr(owner, name)):
            def training_step(self, model, inputs, *rest):
                batches.append((type(self).__mro__[1].__name__, inputs, getattr(self, "ref_model", None)))
                return super().training_step(model, inputs, *rest)

        monkeypatch.setattr(owner, name, Recording)
    out = run(config | {"loss_type": kinds} | settings, tmp_path)
    (trainer, inputs, reference), *more = batches
    assert trainer == {"kto": "KTOTrainer", "orpo": "ORPOTrainer"}.get(kinds[0], "DPOTrainer") and not more
    assert (reference is None) == (kinds == ["orpo"] or "precompute_ref_log_probs" in settings)
    ends = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for name, ids in inputs.items():
        if name in ("input_ids", "chosen_input_ids", "rejected_input_ids"):
            assert {row.tolist().count(ends) for row in ids} == {2}  # one a turn
            assert all(tokenizer.decode(row).count(spelled) >= 1 for row in ids)
    assert {"input_ids", "chosen_input_ids"} & inputs.keys()
    saved = json.loads((out / "tokenizer_config.json").read_text())
    assert (
        saved["tokenizer_class"] == json.loads((chat_model / "tokenizer_config.json").read_text())["tokenizer_class"]
    )
    log = rows(out / "log.jsonl")[0]
    assert log["grad_norm"] > 0 and (first is None or log["loss"] == pytest.approx(first, abs=2e-3))
    if kinds == ["kto"]:
        assert len(inputs["label"]) == 8 and 0 < sum(map(int, inputs["label"])) < 8
    assert json.loads((out / "stage.json").read_text())["config"]["loss_type"] == kinds
