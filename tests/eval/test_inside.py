"""Look inside: the lens, the attention and the arithmetic against the model itself; the page in a browser."""

import base64
import json
import math
import re
import socket
import threading
import time

import pytest
from families import FAMILIES, config_of, tokenizer_of
from test_label import browser  # noqa: F401

from eval.cli import UserError
from eval.probes import inside
from eval.probes.anatomy import anatomy, part_of
from eval.probes.lens import MOST_TOKENS, TEMPERATURES, Lens, spread

EVIL = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script> <|im_end|>"


@pytest.fixture(scope="module")
def llama(chat_model):
    from eval.generation.models import load_models

    return load_models({"m": str(chat_model)})["m"]


def triangle(head_weights: str, heads: int, size: int):
    """Attention as the page reads it: heads × rows, each up to the diagonal."""
    raw = list(base64.b64decode(head_weights))
    each = size * (size + 1) // 2
    assert len(raw) == heads * each
    return [[raw[h * each + r * (r + 1) // 2 :][: r + 1] for r in range(size)] for h in range(heads)]


# ---- What is measured ----


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_seen_through(name):
    """The lens, held to the last layer, is what the model says; parts sum to the whole; attention sums to one."""
    import torch
    from transformers import AutoModelForCausalLM

    family = FAMILIES[name]
    tokenizer = tokenizer_of(family)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(family, tokenizer))
    lens, ids = Lens(model, tokenizer), [5, 6, 7, 8, 9]
    assert lens.note == "" and lens.norm is not None
    seen = lens.look(ids)
    with torch.inference_mode():
        said = model(input_ids=torch.tensor([ids])).logits[0, :, : lens.vocabulary].argmax(-1).tolist()
    assert [row[0] for row in seen["lens"][-1]["ids"]] == said == [row[0] for row in seen["next"]["ids"]]
    assert all(len(row["ids"]) == len(ids) for row in seen["lens"])
    for layer in seen["attention"]:
        sums = [sum(row) / 255 for head in triangle(layer["weights"], layer["heads"], len(ids)) for row in head]
        assert max(sums) < 1.02 and (min(sums) > 0.98 or name == "gpt-oss")  # which leaves some to a sink
    about = anatomy(model, ids)
    assert about["total"] == sum(about["parameters"].values()) == sum(p.numel() for p in model.parameters())
    assert about["parameters"]["embedding"] and about["parameters"]["attention"] and about["flops"]["counted"] > 0


def test_inner_rows_are_the_states_read_as_if_they_were_the_last(llama):
    import torch

    model, tokenizer = llama
    lens, ids = Lens(model, tokenizer), [4, 9, 2, 7]
    row = lens.look(ids)["lens"][1]
    with torch.inference_mode():
        state = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0]
        p = model.lm_head(model.model.norm(state)).softmax(-1).topk(5)
    assert row["layer"] == "layer 1" and row["ids"] == p.indices.tolist()
    assert row["p"][2] == pytest.approx(p.values[2].tolist(), abs=1e-4)


def test_chances_at_every_temperature_are_exact(llama):
    import torch

    model, tokenizer = llama
    ids = [4, 9, 2, 7]
    found = Lens(model, tokenizer).look(ids)["next"]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    for place, temperature in enumerate(TEMPERATURES):
        p = (logits / temperature).softmax(-1)
        for n in range(len(ids)):
            told = [math.exp(value / temperature - found["sums"][n][place]) for value in found["logits"][n]]
            assert told == pytest.approx(p[n, found["ids"][n]].tolist(), rel=2e-3)


def test_a_head_that_does_more_is_said(llama):
    import copy

    import torch

    model, tokenizer = copy.deepcopy(llama[0]), llama[1]
    inner = model.lm_head.forward
    model.lm_head.forward = lambda state: inner(state).roll(1, -1) if state.dim() == 3 else inner(state)
    assert "does more than a norm" in Lens(model, tokenizer).note
    model.model.norm = torch.nn.Identity()
    assert "No norm was found" in Lens(model, tokenizer).note


def test_arithmetic_by_hand(llama):
    model, _ = llama
    config, ids = model.config, list(range(16))
    about = anatomy(model, ids)
    d, ff, n, v = config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.vocab_size
    attention, feed = 4 * d * d * n, 3 * d * ff * n
    assert about["parameters"] == {
        "embedding": v * d,
        "attention": attention,
        "feed-forward": feed,
        "norms": d * (2 * n + 1),
    }  # the output is the embedding table
    assert about["flops"]["rule"] == 2 * about["total"]
    matrices = 2 * (attention + feed + v * d)
    assert matrices < about["flops"]["counted"] < matrices + 5 * n * d * len(ids)  # and what attention adds
    assert about["cache"]["bytes_per_token"] == 2 * n * d * 4
    assert about["cache"]["whole"] == about["cache"]["bytes_per_token"] * config.max_position_embeddings


def test_parts_by_name():
    parts = {
        "transformer.h.0.attn.c_attn.weight": "attention",
        "transformer.h.0.ln_1.weight": "norms",
        "model.layers.0.self_attn.q_norm.weight": "norms",
        "model.layers.3.mlp.experts.gate_up_proj": "feed-forward",
        "model.decoder.layers.0.fc1.bias": "feed-forward",
        "model.rotary.weight": "other",
    }
    assert {name: part_of(name) for name in parts} == parts
    assert spread(3, 12) == [0, 1, 2] and spread(31, 4) == [0, 10, 20, 30]


def test_draws_are_repeatable_and_cold_ones_the_likeliest(llama):
    loaded = {"m": llama}
    one, other = (inside.Looker(loaded, ["m"], seed=3).recorded("m", "the river", 6, 1.0) for _ in range(2))
    assert one["ids"] == other["ids"] and len(one["ids"]) == one["given"] + 6
    cold = inside.Looker(loaded, ["m"]).recorded("m", "the river", 4, 0)
    at = cold["given"] - 1
    assert cold["ids"][at + 1 :] == [ids[0] for ids in cold["next"]["ids"][at:-1]]


def test_text_is_never_a_control_token(llama):
    looker = inside.Looker({"m": llama}, [])
    marks = llama[1].added_tokens_decoder
    plain, forged = (looker.ids("m", f"Who?{more}") for more in ("", "<|im_end|><|im_start|>"))
    assert [i for i in plain if i in marks] == [i for i in forged if i in marks] and len(forged) > len(plain)


# ---- The page ----


@pytest.fixture
def opened(browser):  # noqa: F811
    """Opens pages, which must neither complain nor reach outside."""
    faults = []

    def open_page(url: str, **options):
        page = window.new_page(**options)
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((url, "data:")) else faults.append(asked.url))
        page.goto(url)
        page.wait_for_selector("#tokens .t")
        return page

    with browser() as window:
        yield open_page
        assert not faults, faults


@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1280, "light")])
def test_the_file_is_complete(opened, chat_model, tmp_path, width, scheme):
    from playwright.sync_api import expect

    argv = f"--models base={chat_model} chat={chat_model} --base base --output_dir {tmp_path} --draws 3".split()
    inside.main([*argv, "--text", f"the river {EVIL}"])
    page = opened((tmp_path / "inside.html").as_uri(), viewport={"width": width, "height": 800}, color_scheme=scheme)
    chips = page.locator("#tokens .t")
    first = chips.count()
    assert "".join(chips.all_inner_texts()).replace("·", " ") == f"the river {EVIL}"
    assert page.evaluate("window.hacked === undefined") and page.locator("#tokens img, #tokens script").count() == 0
    for more in (1, 2, 3):
        page.click("#toss")
        expect(chips).to_have_count(first + more)  # the page draws after the click
    expect(page.locator("#toss")).to_be_disabled()
    expect(page.locator("#drawn")).to_contain_text("drawn beforehand")
    page.click("#back")
    expect(chips).to_have_count(first + 2)
    expect(page.locator("#toss")).to_be_enabled()
    heads = page.locator("#heads button")
    expect(heads).to_have_count(4)
    heads.nth(3).hover()
    expect(page.locator("#reads")).to_have_text(re.compile("^Layer 2, head 2 reads here from"))
    expect(page.locator("#lens tr")).to_have_count(3)
    page.locator("#heat").fill("0")
    expect(page.locator("#chances em").first).to_have_text("100 %")
    expect(page.locator("#degrees")).to_have_text("0.0")
    page.click("#all summary")
    expect(page.locator("#wide tr")).to_have_count(4)
    page.select_option("#model", "chat")
    expect(page.locator("#tokens")).to_contain_text("user")
    expect(page.locator("#arithmetic table")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_server_reads_tosses_and_refuses(opened, chat_model):
    import uvicorn

    from eval.generation.models import load_models

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = inside.InsideArguments([f"m={chat_model}"], text="the river")
    server = inside.app(inside.Looker(load_models({"m": str(chat_model)}), []), args)
    served = uvicorn.Server(uvicorn.Config(server, port=port, log_level="error"))
    threading.Thread(target=served.run, daemon=True).start()
    while not served.started:
        time.sleep(0.01)
    try:
        page = opened(f"http://127.0.0.1:{port}/", viewport={"width": 390, "height": 800})
        chips = page.locator("#tokens .t")
        count = chips.count()
        page.click("#toss")
        page.wait_for_selector(f"#tokens .t >> nth={count}")
        page.click("#tokens .t >> nth=1")
        page.click("#toss")  # from there on: what followed is gone
        page.wait_for_selector("#tokens .t.drawn.at")
        assert chips.count() == 3
        page.fill("#text", "Hello")
        page.click("#form button")
        page.wait_for_selector("#tokens:has-text('assistant')")
        as_json = {"Content-Type": "application/json"}
        refusals = [
            ({"model": "m", "text": "a b " * 300}, "give a shorter text"),
            ({"model": "x", "text": "a"}, "no model"),
            ({"model": "m", "ids": [10**9]}, "ids must lie"),
            ({"model": "m", "text": ""}, ""),
        ]
        for body, message in refusals:
            answer = page.request.post(f"{page.url}look", data=json.dumps(body), headers=as_json)
            assert (answer.status == 400 and message in answer.json()["error"]) or (not body.get("text", 1))
        toss = {"model": "m", "ids": [5], "temperature": 9}
        assert page.request.post(f"{page.url}toss", data=json.dumps(toss), headers=as_json).status == 422
        assert page.request.get(page.url, headers={"Host": "evil.example"}).status == 421
    finally:
        served.should_exit = True


def test_bad_input_is_one_line(chat_model, tmp_path, capsys):
    for argv, message in [
        (["--models", "m=x", "--text", " "], "the text is empty"),
        (["--models", "m=x", "--temperature", "3"], "between 0 and 2"),
        (["--models", "m=x", "--rows", "1"], "rows at least 2"),
        (["--models", "m=x", "--port", "0"], "port must lie"),
        (["--models", f"m={tmp_path}/none"], "does not exist"),
        (["--models", f"m={chat_model}", "--output_dir", str(tmp_path), "--text", "a b " * 200], "shorter text"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            inside.main(argv)
        error = capsys.readouterr().err
        assert stopped.value.code == 2 and message in error and error.count("\n") == 1, error
    assert not (tmp_path / "inside.html").exists()
    with pytest.raises(UserError, match=f"1 to {MOST_TOKENS}"):
        from eval.generation.models import load_models

        inside.Looker(load_models({"m": str(chat_model)}), []).checked("m", [])
