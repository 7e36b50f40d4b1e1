"""The recipe of DPO: what it makes of pairs, and the trainers that it takes for KTO and ORPO."""

import copy
import importlib
import json
from pathlib import Path

import pytest
import yaml
from conftest import rows
from test_recipes import chatml

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
    from recipes.dpo import texts

    class Beginning:  # a tokenizer whose template writes the token, and that adds it to plain text, as Llama's do
        bos_token, eos_token = "<|endoftext|>", tokenizer.eos_token
        bos_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")

        def __call__(self, text):
            return {"input_ids": [self.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]}

        def apply_chat_template(self, *args, **kwargs):
            return self.bos_token + tokenizer.apply_chat_template(*args, **kwargs)

    found = texts({"prompt": ASKED, "chosen": turn("Drip."), "rejected": turn("No.")}, Beginning())
    assert not found["prompt"].startswith("<|endoftext|>") and not found["chosen"].startswith("<|endoftext|>")


def test_ties_and_long_pairs_are_left_out_and_counted(config, preferences, tmp_path, capsys):
    usual = rows(preferences / "train.jsonl")[:20]
    usual = [row for row in usual if row["chosen"] != row["rejected"]]
    tie = usual[0] | {"rejected": usual[0]["chosen"]}
    long = usual[0] | {"rejected": turn("rain " * 300)}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*usual, tie, tie, long]))
    out = run(config | {"datasets": [{"path": str(tmp_path / "pairs.jsonl")}], "max_length": 200}, tmp_path)
    told = capsys.readouterr().out
    assert f"2 of {len(usual) + 3} rows left out: both replies are the same" in told
    assert f"of {len(usual) + 1} pairs 0 are left out as ties and 1 as longer than max_length 200" in told
    assert (out / "model.safetensors").exists()


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
def test_losses(config, tmp_path, monkeypatch, kinds, settings, first):
    import trl
    from trl.experimental import orpo

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
    log = rows(out / "log.jsonl")[0]
    assert log["grad_norm"] > 0 and (first is None or log["loss"] == pytest.approx(first, abs=2e-3))
    if kinds == ["kto"]:
        assert len(inputs["label"]) == 8 and 0 < sum(map(int, inputs["label"])) < 8
    assert json.loads((out / "stage.json").read_text())["config"]["loss_type"] == kinds
