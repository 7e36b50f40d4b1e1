"""A finished run goes to the Hub and comes back: the real client against a small Hub on this machine
(tests/helpers/hub.py)."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import rows
from hub import Hub, bad_metadata

from eval.report.card import limits, model_card, scores

RECORD = {
    "git_commit": "c" * 40,
    "seconds": 12.5,
    "steps": 3,
    "tokens": 4096,
    "tokens_per_second": 327.7,
    "device": "cpu",
    "world_size": 2,
    "peak_memory_gb": 0.5,
    "cost": None,
    "versions": {"torch": "2", "transformers": "5", "trl": "1"},
}
CONFIG = {
    "learning_rate": 0.001,
    "optim": "adamw_torch",
    "lr_scheduler_type": "linear",
    "seed": 0,
    "per_device_train_batch_size": 4,
    "dtype": "float32",
}


METHODS = {"base": "pretraining", "sft": "supervised fine-tuning", "reward": "reward modelling"}


def stage(run, name, model, parent, sources, **config):
    """A stage's folder as a recipe leaves it, with all that is not to be uploaded."""
    folder = run / name
    shutil.copytree(model, folder)
    data = [{"path": str(run / source), "rows": 7} for source in sources]
    config = CONFIG | {"output_dir": str(folder), "datasets": [{"path": d["path"]} for d in data]} | config
    (folder / "stage.json").write_text(
        json.dumps(
            RECORD
            | {"method": METHODS[name], "role": name, "command": f"python -m recipes.{name}"}
            | {"config": config, "parent": parent and str(run / parent), "datasets": data}
        )
    )
    (folder / "checkpoint-3").mkdir()
    for name in (
        "checkpoint-3/model.safetensors",
        "checkpoint-3/optimizer.pt",
        "optimizer.pt",
        "training_args.bin",
        "log.jsonl",
        ".lock",
        "README.md",
        "trainer_state.json",
    ):
        (folder / name).write_text(json.dumps({"step": 1, "note": "not to be uploaded"}))
    (folder / "linked.safetensors").symlink_to(folder / "model.safetensors")


@pytest.fixture(scope="module")
def run(tmp_path_factory, chat_model, reward_model, world, preferences):
    """A finished run in small: three stages, three data sets, an evaluation."""
    from eval.run import main

    folder = tmp_path_factory.mktemp("finished") / "small"
    for name, source in (("conversations", world / "conversations"), ("preferences", preferences)):
        shutil.copytree(source, folder / name)
    (folder / "refusals").mkdir()
    (folder / "refusals/train.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "messages": [{"role": "user", "content": "?"}],
                    "kind": "refusal",
                    "probe": {"agreement": i / 4, "verdict": "does not know"},
                }
            )
            + "\n"
            for i in range(5)
        )
    )
    (folder / "refusals/probes.jsonl").write_text(
        json.dumps({"question": "?", "samples": ["a", "b"], "verdict": "unsure"}) + "\n"
    )
    stage(folder, "base", chat_model, None, ["tokens"], tokens_dir="tokens", sample_prompts=['Question: "Who"?'])
    stage(folder, "sft", chat_model, "base", ["conversations/train.jsonl"])
    stage(folder, "reward", reward_model, "sft", ["preferences/train.jsonl"], margin_per_place=0.0)
    main(
        f"--models sft={folder}/sft --tasks facts_unseen letters letters_at_once --limit 4 --data_dir {world}/eval"
        f" --output_dir {folder}/eval".split()
    )
    return folder


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def client(hub, monkeypatch, tmp_path):
    """This process's client talks to the small Hub; pauses are noted, not made."""
    from huggingface_hub import constants

    for name, value in {
        "ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(tmp_path / "none"),
        "AGENT_HARNESSES_PATH": str(tmp_path / "harnesses.json"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def push(run, *options) -> None:
    from recipes.push import main

    main([str(run), "--namespace", "me", *options])


def refused(capsys, act) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        act()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert exit_.value.code == 2 and len(lines) == 1
    return lines[0]


def sft(hub):
    return hub.repos["model", "me/tumbler-small-sft"]


def whole(hub, run) -> bool:
    """The stage sft is there, all of it, in one commit."""
    first, *pushed = sft(hub).commits
    names = {
        "README.md",
        "stage.json",
        "results.json",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    return (
        first.files.keys() == {".gitattributes"}
        and len(pushed) == 1
        and pushed[0].files.keys() == names | {".gitattributes"}
        and pushed[0].files["model.safetensors"] == (run / "sft/model.safetensors").read_bytes()
    )


PULL = """
import json, re, runpy, sys
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

run, out = map(Path, sys.argv[1:])
classes = {"base": AutoModelForCausalLM, "sft": AutoModelForCausalLM, "reward": AutoModelForSequenceClassification}
for name, cls in classes.items():
    theirs, ours = (cls.from_pretrained(where).state_dict() for where in (f"me/tumbler-small-{name}", run / name))
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in ours)
    theirs, ours = (AutoTokenizer.from_pretrained(where) for where in (f"me/tumbler-small-{name}", run / name))
    assert theirs.get_vocab() == ours.get_vocab() and theirs.chat_template == ours.chat_template
found = {}
for name in ("conversations", "refusals", "preferences"):
    found[name] = {split: list(part) for split, part in load_dataset(f"me/tumbler-small-{name}").items()}
found["probes"] = {"train": list(load_dataset("me/tumbler-small-refusals", "probes", split="train"))}
(out / "rows.json").write_text(json.dumps(found))
for card in sorted(out.glob("*.md")):  # the code of the cards as it stands there
    print("card", card.stem)
    (out / "card.py").write_text("\\n".join(re.findall(r"```python\\n(.*?)```", card.read_text(), re.DOTALL)))
    runpy.run_path(str(out / "card.py"), run_name="__main__")
"""


def test_what_is_pushed_comes_back_and_the_cards_code_runs(run, hub, client, tmp_path, capfd):
    push(run)
    printed = capfd.readouterr()
    names = {("model", n) for n in ("base", "sft", "reward")} | {
        ("dataset", n) for n in ("conversations", "refusals", "preferences")
    }
    assert hub.repos.keys() == {(kind, f"me/tumbler-small-{name}") for kind, name in names}
    assert all(repo.private and len(repo.commits) == 2 for repo in hub.repos.values()) and whole(hub, run)
    for (_, repo_id), repo in hub.repos.items():
        card = repo.commits[-1].files["README.md"].decode()
        assert not bad_metadata(card)
        (tmp_path / f"{repo_id.split('/')[1]}.md").write_text(card)
        for name, content in repo.commits[-1].files.items():
            assert (
                hub.token.encode() not in content
                and str(run).encode() not in content
                and b"not to be uploaded" not in content
            ), name
    assert hub.token not in printed.out + printed.err
    assert not [path for path in run.rglob("*") if path.is_file() and hub.token.encode() in path.read_bytes()]
    (tmp_path / "pull.py").write_text(PULL)
    pulled = subprocess.run(
        [sys.executable, str(tmp_path / "pull.py"), str(run), str(tmp_path)],
        env=os.environ | hub.environment(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert pulled.returncode == 0, pulled.stderr[-3000:]
    assert pulled.stdout.count("card ") == 6
    found = json.loads((tmp_path / "rows.json").read_text())

    def told(value):  # the columns that a row lacks are None in a data set
        return (
            {k: told(v) for k, v in value.items() if v is not None}
            if isinstance(value, dict)
            else list(map(told, value))
            if isinstance(value, list)
            else value
        )

    assert {name: set(parts) for name, parts in found.items()} == {
        "conversations": {"train", "validation"},
        "refusals": {"train"},
        "preferences": {"train", "validation", "test"},
        "probes": {"train"},
    }
    for name in ("conversations", "refusals", "preferences"):
        for split, part in found[name].items():
            assert told(part) == told(rows(run / name / f"{split}.jsonl")), (name, split)
    assert found["probes"]["train"] == rows(run / "refusals/probes.jsonl")


def test_what_is_there_is_not_pushed_again_and_what_changed_is(run, hub, client, tmp_path, capsys):
    copy = tmp_path / "small"
    shutil.copytree(run, copy, symlinks=True)
    push(copy, "--stages", "base", "sft", "--datasets", "conversations")
    heads = {repo_id: repo.commits[-1].oid for repo_id, repo in hub.repos.items()}
    before = len(hub.calls)
    push(copy, "--stages", "sft")  # its card names the base model and the data that are there, as before
    push(copy, "--datasets", "conversations")
    assert {repo_id: repo.commits[-1].oid for repo_id, repo in hub.repos.items()} == heads and len(
        hub.repos["model", "me/tumbler-small-base"].commits
    ) == 2
    assert not [call for call in hub.calls[before:] if call[0] == "PUT" or "/commit/" in call[1]]
    assert capsys.readouterr().out.count("is there already, nothing to push") == 2
    sft(hub).commits[-1].files |= {
        "model-00001-of-00002.safetensors": b"of an older push",
        "picture.png": b"a person's",
    }
    (copy / "sft/config.json").write_text((run / "sft/config.json").read_text() + "\n")
    push(copy, "--stages", "sft")
    assert len(sft(hub).commits) == 3 and sft(hub).commits[-1].files["config.json"].endswith(b"\n\n")
    assert (
        "picture.png" in sft(hub).commits[-1].files
        and "model-00001-of-00002.safetensors" not in sft(hub).commits[-1].files
    )


ENDPOINTS = {
    "whoami": ("GET", "/whoami-v2"),
    "create": ("POST", "/repos/create"),
    "info": ("GET", "/api/models/me/tumbler-small-sft$"),
    "card": ("POST", "/validate-yaml"),
    "preupload": ("POST", "/preupload/"),
    "batch": ("POST", "/objects/batch"),
    "blob": ("PUT", "/blobs/"),
    "verify": ("POST", "/verify/"),
    "commit": ("POST", "/commit/"),
}


@pytest.mark.parametrize("what", [429, 500, "drop", "half", "lost"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_busy_hub_and_a_broken_line_are_tried_again(run, hub, client, endpoint, what):
    hub.fail(*ENDPOINTS[endpoint], what)
    hub.fail(*ENDPOINTS[endpoint], what, after=1)  # and once more, later
    push(run, "--stages", "sft")
    assert whole(hub, run) and client
    hub.failures.clear()
    push(run, "--stages", "sft")
    assert whole(hub, run)


@pytest.mark.parametrize(
    "status, cure",
    [
        (401, "hf auth login"),
        (403, "the token may not write there"),
        (404, "look at the namespace"),
        (409, "run the same command again"),
    ],
)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_refusal_is_one_line_and_breaks_nothing(run, hub, client, capsys, endpoint, status, cure):
    hub.fail(*ENDPOINTS[endpoint], status)
    said = refused(capsys, lambda: push(run, "--stages", "sft"))
    assert cure in said or (endpoint, status) == ("create", 409) and "look at the namespace" in said, said
    assert all(len(repo.commits) == 1 for repo in hub.repos.values())
    push(run, "--stages", "sft")
    assert whole(hub, run)


def test_a_hub_that_stays_busy_is_given_up(run, hub, client, capsys):
    hub.fail("POST", "/commit/", 503, times=50)
    assert "the same command goes on from here" in refused(
        capsys, lambda: push(run, "--stages", "sft")
    ) and client == [1, 2, 4, 8, 16, 30]
    assert len(sft(hub).commits) == 1
    hub.failures.clear()
    push(run, "--stages", "sft")
    assert whole(hub, run) and sum(call[0] == "PUT" for call in hub.calls) == 1  # the blob was there


def test_a_commit_of_another_comes_between(run, hub, client):
    from hub import Commit

    hub.fail("POST", "/commit/", lambda: sft(hub).commits.append(Commit("e" * 40, "by a person", {"note.txt": b"1"})))
    push(run, "--stages", "sft")
    assert [commit.title for commit in sft(hub).commits[1:]] == [
        "by a person",
        "Push by Tumbler's recipes",
    ] and "note.txt" in sft(hub).commits[-1].files


def test_a_killed_push_goes_on(run, hub, client):
    """Killed while the weights are sent, and again when the commit is on its way, which the Hub then makes."""
    for endpoint in ("blob", "commit", None):
        process = multiprocessing.get_context("fork").Process(target=push, args=(run, "--stages", "sft"))
        if endpoint:
            hub.fail(*ENDPOINTS[endpoint], lambda: os.kill(process.pid, signal.SIGKILL))
        process.start()
        process.join(60)
        assert process.exitcode == (-signal.SIGKILL if endpoint else 0)
        deadline = time.monotonic() + 20
        while endpoint == "commit" and len(sft(hub).commits) < 2:
            assert time.monotonic() < deadline
        assert endpoint != "blob" or len(sft(hub).commits) == 1
    assert whole(hub, run)


def test_private_unless_told_otherwise(run, hub, client, capsys, monkeypatch):
    from huggingface_hub import HfApi

    push(run, "--stages", "sft")
    assert sft(hub).private and not HfApi(token=hub.other).repo_exists("me/tumbler-small-sft")
    assert "is private" in refused(capsys, lambda: push(run, "--stages", "sft", "--public"))
    push(run, "--stages", "sft", "--prefix", "open", "--public")
    assert not hub.repos["model", "me/open-sft"].private and HfApi(token=hub.other).repo_exists("me/open-sft")
    assert "everyone can read it" in refused(capsys, lambda: push(run, "--stages", "sft", "--prefix", "open"))
    assert len(hub.repos["model", "me/open-sft"].commits) == 2


@pytest.mark.parametrize(
    "options, token, message",
    [
        (["--namespace", "somebody"], "token", "only to me, team"),
        ([], "reader", "may only read"),
        ([], None, "hf auth login"),
        (["--stages", "ppo"], "token", "no finished stage ppo; it has base, sft, reward"),
        (["--datasets", "web"], "token", "no finished data set web"),
        (["--prefix", "a--b"], "token", "--prefix"),
        (["--license"], "token", "license"),
    ],
)
def test_bad_input(run, hub, client, capsys, monkeypatch, options, token, message):
    monkeypatch.setenv("HF_TOKEN", getattr(hub, token)) if token else monkeypatch.delenv("HF_TOKEN")
    assert message in refused(capsys, lambda: push(run, *options)) and not hub.repos


def test_offline_and_unknown_token(run, hub, client, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "z" * 34)
    assert "hf auth login" in (said := refused(capsys, lambda: push(run))) and "zzz" not in said
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(capsys, lambda: push(run))


def test_a_token_goes_nowhere(run, hub, client, tmp_path, capsys):
    copy = tmp_path / "small"
    shutil.copytree(run, copy, symlinks=True)
    hub.fail("POST", "/repos/create", (400, f"bad header: Bearer {hub.token}"))
    said = refused(capsys, lambda: push(copy, "--stages", "sft"))
    assert "hf_***" in said and hub.token not in said
    for name, act in (
        ("sft/config.json", ["--stages", "sft"]),
        ("refusals/probes.jsonl", ["--datasets", "refusals"]),
        ("sft/stage.json", ["--stages", "sft"]),
    ):
        text = (copy / name).read_text()
        (copy / name).write_text(text.replace("{", '{"note": "hf_' + "b" * 34 + '", ', 1))
        assert (
            f"{name.split('/')[-1]} holds a Hub token" in (said := refused(capsys, lambda: push(copy, *act)))
            and "bbb" not in said
        )
        (copy / name).write_text(text)
    assert not any(len(repo.commits) > 1 for repo in hub.repos.values())


def test_a_dry_run_asks_nobody(run, hub, client, capsys, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(run, copy, symlinks=True)
    push(copy, "--dry_run", "--license", "mit")
    printed = capsys.readouterr().out
    assert (
        not hub.calls
        and "model me/tumbler-small-sft: 9 files" in printed
        and re.search(r"model\.safetensors +\d", printed)
    )
    assert {path.parent.name for path in copy.glob("hub/*/README.md")} == {
        f"tumbler-small-{name}" for name in ("base", "sft", "reward", "conversations", "refusals", "preferences")
    }
    assert "license: mit" in (copy / "hub/tumbler-small-sft/README.md").read_text()


def test_every_score_stands_in_the_cards_metadata(run):
    """And the client's own classes read the card as it was meant."""
    from huggingface_hub import ModelCard

    record, results = (
        json.loads((run / "sft/stage.json").read_text()),
        json.loads((run / "eval/sft/results.json").read_text()),
    )
    numbers = {"gold": {"value": 0.5, "stderr": 0.1, "n": 30}}
    card = model_card(
        "me/x",
        record,
        {"": results, "search": results},
        numbers,
        license="mit",
        base_model="me/base",
        datasets=["me/data"],
    )
    read = ModelCard(str(card))
    assert (
        read.data.to_dict() == card.data.to_dict()
        and read.data.eval_results == card.data.eval_results
        and str(read) == str(card)
    )
    assert (
        read.data.license,
        read.data.base_model,
        read.data.datasets,
        read.data.library_name,
        read.data.pipeline_tag,
    ) == ("mit", "me/base", ["me/data"], "transformers", "text-generation")
    found = {(r.dataset_type, r.dataset_config, r.metric_type): r for r in read.data.eval_results}
    expected = [
        (task, key, value)
        for task, row in results["results"].items()
        for key, value in row.items()
        if "," in key and "_stderr" not in key
    ]
    assert len(expected) >= 7 and len(found) == 2 * len(expected) + 1
    for setting in (None, "search"):
        for task, key, value in expected:
            one = found[task, setting, key.removesuffix(",none")]
            assert (
                one.metric_value == value
                and one.dataset_args["n"] == results["n-samples"][task]["effective"]
                and one.dataset_args.get("task_version") == results["versions"].get(task)
            )
            assert f"| {value:.3f} ± " in str(card)
    assert found["gold", None, "gold"].dataset_args == {"n": 30} and "| 0.500 ± 0.196 (n = 30) |" in str(card)
    assert all(results["versions"].get(task) for task, _, _ in expected if task != "end_token")
    assert "2 × cpu" in str(card) and "3 of 8 rows" in str(card) and "c" * 40 in str(card)


def test_a_group_has_the_n_of_its_tasks():
    results = {
        "results": {
            "g": {"acc,none": 0.5, "acc_stderr,none": "N/A"},
            "a": {"acc,none": 0.4, "exact_match,strict-match": 0.1},
        },
        "group_subtasks": {"g": ["a", "b"]},
        "n-samples": {"a": {"effective": 3}, "b": {"effective": 4}},
        "versions": {"g": 2},
    }
    assert [(row["task"], row["metric"], row["n"], row["version"], row["stderr"]) for row in scores(results)] == [
        ("g", "acc", 7, 2, None),
        ("a", "acc", 3, None, None),
        ("a", "exact_match (strict-match)", 3, None, None),
    ]


def test_limits_are_what_was_measured():
    def m(value, n=100, stderr=0.01):
        return {"value": value, "stderr": stderr, "n": n}

    numbers = {
        "tasks": {
            "letters": m(0.9),
            "letters_at_once": m(0.4),
            "compare": m(0.9),
            "compare_at_once": m(0.89),
            "end_token": m(0.98),
        },
        "facts": {"facts_unseen": {"made_up": m(0.25)}, "facts_rare": {"made_up": m(0.0)}},
        "kl_to_reference": m(2.34),
        "places_apart": {"1": m(0.6)},
    }
    task = {"setting": "", "main": True, "higher": True, "metric": "score"}
    rows = [
        task | {"task": "arithmetic"} | m(0.1),
        task | {"task": "facts_unseen", "higher": False} | m(0.1),
        task | {"task": "letters"} | m(0.9),
    ]
    said = "\n".join(limits(numbers, rows, {"start": 0.5, "best": 2.0, "last": 1.0, "step": 8, "n": 30}))
    assert (
        "never read of, it makes an answer up in a share of 0.250 ± 0.020 (n = 100)" in said
        and "once or twice, it" not in said
    )
    assert (
        "`letters` 0.400 ± 0.020 (n = 100) instead of 0.900" in said and "compare" not in said
    )  # a difference that chance may make is none
    assert (
        "Less than half right: `arithmetic` 0.100 ± 0.020 (n = 100)." in said and "0.980 ± 0.020 (n = 100) do" in said
    )
    assert (
        "2.3 nats" in said
        and "0.600 ± 0.020" in said
        and "from 0.50 to 2.00 (step 8) and fell to 1.00 (n = 30 prompts)" in said
    )
    assert limits({}, []) == []


def test_paths_of_the_machine_are_shortened(tmp_path):
    from recipes.publishing.hub import public, public_record

    run = tmp_path / "small"
    kept = [
        "see https://huggingface.co/me/x/resolve/main and hf://datasets/me/x/a.parquet",
        "1/2 and/or runs/tiny/sft, ./data/x.jsonl; a `/` or </td></tr>",
        "\\frac{1}{2}\\boxed{3}\\n\\text",
    ]
    assert [public(text, run) for text in kept] == kept and public_record(kept, run) == kept
    assert public(f"`{run}/sft`, {tmp_path}/other", run) == "`small/sft`, other"
    assert public("at /scratch/jane/a-1/train.jsonl: 4 rows, from (/data/jane/base)", run) == (
        "at train.jsonl: 4 rows, from (base)"
    )
    for text, short in {
        "path:/home/jane/x": "path:x",
        "/srv/jane/a:/srv/jane/b": "a:b",
        "from /home/jane, or /Users/jane/": "from ~, or ~",
        "D:\\jane\\base, 4 rows": "base, 4 rows",
        "`C:/Users/jane/x.jsonl` and C:\\Users\\jane": "`x.jsonl` and ~",
        "on \\\\server\\jane\\x.jsonl.": "on x.jsonl.",
    }.items():
        assert public(text, run) == short and "jane" not in str(public_record([text], run))
    told = {
        "parent": "/models/jane/base",
        "data": ["/data/Jane Doe/my set/train.jsonl", "file:///data/jane/x.jsonl", "~jane/x/y.jsonl"],
        "tools": ["python", "search=/data/jane/index"],
        "windows": "C:\\Users\\jane\\base",
        "until": ["/", "\n", "/think"],
        "/home/jane/key": 1,
    }
    found = public_record(told, run)
    assert found == {
        "parent": "base",
        "data": ["train.jsonl", "x.jsonl", "y.jsonl"],
        "tools": ["python", "search=index"],
        "windows": "base",
        "until": ["/", "\n", "/think"],
        "key": 1,
    }


def test_the_name_of_the_machine_is_left_out(tmp_path, monkeypatch):
    from recipes.publishing.hub import public_record

    monkeypatch.setattr("socket.gethostname", lambda: "node17")
    logs = {"logging_dir": "runs/Nov28_20-00-00_node17", "rank": "node17:29500", "note": "node170"}
    assert public_record({"on": "node17", "a": logs["note"]}, tmp_path) == {"on": "host", "a": "node170"}
    assert "node17" not in str(public_record({k: logs[k] for k in ("logging_dir", "rank")}, tmp_path))


@pytest.mark.parametrize(
    "path, found",
    [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("gpt2", "gpt2"),
        ("hf://datasets/me/x/data/train-*.parquet", "me/x"),
        ("hf://datasets/me/x@main/a.jsonl", "me/x"),
        ("data/train.jsonl", None),
        ("data/train.jsonl.gz", None),
        ("here/model", None),
        ("/a/b", None),
        ("./model", None),
        ("..", None),
        ("~/model", None),
        ("a/b/c", None),
        (None, None),
    ],
)
def test_what_comes_from_the_hub(tmp_path, monkeypatch, path, found):
    from recipes.publishing.hub import hub_id

    monkeypatch.chdir(tmp_path)
    (tmp_path / "here/model").mkdir(parents=True)
    assert hub_id(path) == found


def record_of(folder, path: str, parent: str, **more) -> None:
    """A stage's folder with a record alone."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    (folder / "config.json").write_text("{}")
    data = [{"path": path, "fingerprint": "x", "rows": 4}]
    config = CONFIG | {"output_dir": "run/sft", "datasets": [{"path": path}]}
    made = {"method": "supervised fine-tuning", "role": "sft", "command": "python -m recipes.sft"}
    record = RECORD | made | {"config": config, "datasets": data, "parent": parent} | more
    (folder / "stage.json").write_text(json.dumps(record))


def test_a_card_names_what_was_on_the_hub_and_no_path(tmp_path, monkeypatch):
    """Pushed from another folder than the one it was trained in."""
    from recipes.push import main, stage_files

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    hub = {"HuggingFaceH4/no_robots": "HuggingFaceH4/no_robots", "Qwen/Qwen3-0.6B": "Qwen/Qwen3-0.6B"}
    told = {
        "local": ("data/mine", "ckpts/base", {}, ["data/mine", "ckpts/base"]),
        "absolute": ("/data/jane/corpus/train.jsonl", "/models/jane/base", {}, ["jane"]),
        "hub": ("HuggingFaceH4/no_robots", "Qwen/Qwen3-0.6B", {"on_hub": hub}, []),
    }
    for name, (path, parent, more, never) in told.items():
        run = tmp_path / name / "run"
        record_of(run / "sft", path, parent, **more)
        main([str(run), "--namespace", "me", "--dry_run", "--public"])
        card = next(run.glob("hub/*/README.md")).read_text()
        head = card.split("---")[1]
        stage = stage_files(run / "sft", "me/x", "apache-2.0")["stage.json"].decode()
        assert not [word for word in never if word in head], name
        if name == "absolute":
            assert "jane" not in card + stage and "`train.jsonl`: 4 rows" in card
        if name == "hub":
            assert "base_model: Qwen/Qwen3-0.6B" in head and "- HuggingFaceH4/no_robots" in head


def test_an_adapter_names_its_base_model_on_the_hub(run, tmp_path):
    from eval.cli import UserError
    from recipes.push import stage_files

    folder = tmp_path / "lora"
    shutil.copytree(run / "sft", folder, symlinks=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(run / "base"), "r": 8}))
    files = stage_files(folder, "me/x", "mit", base_model="me/base")
    assert (
        json.loads(files["adapter_config.json"]) == {"base_model_name_or_path": "me/base", "r": 8}
        and b"library_name: peft" in files["README.md"]
    )
    with pytest.raises(UserError, match="which is on no Hub"):
        stage_files(folder, "me/x", "mit")


def test_a_recipe_pushes_what_it_has_trained(run, hub, client, world, tmp_path, capsys):
    """In one commit, private, with the card of `recipes.push`, and again for nothing when it is there."""
    from recipes.sft import main

    out = tmp_path / "mine"
    argv = [
        "--model_name_or_path",
        str(run / "base"),
        "--datasets",
        json.dumps([{"path": str(world / "conversations/train.jsonl")}]),
        "--output_dir",
        str(out),
        "--max_steps",
        "2",
    ]
    argv += [
        "--per_device_train_batch_size",
        "2",
        "--max_length",
        "128",
        "--save_steps",
        "1",
        "--report_to",
        "none",
        "--bf16",
        "false",
        "--push_to_hub",
        "true",
        "--hub_license",
        "mit",
    ]
    for more, message in (
        (["--hub_token", hub.token], "hub_token is not used"),
        (["--hub_strategy", "end"], "hub_strategy is not used"),
        (["--hub_model_id", "somebody/x"], "only to me, team"),
        (["--use_peft", "true"], "adapter would need"),
    ):
        assert message in (said := refused(capsys, lambda: main([*argv, *more]))) and hub.token not in said
    hub.fail("POST", "/commit/", 403)
    assert "may not write" in refused(capsys, lambda: main(argv)) and (out / "stage.json").exists()
    main(argv)
    main(argv)
    assert "is finished" in capsys.readouterr().out
    ((key, repo),) = hub.repos.items()
    assert key == ("model", "me/mine") and repo.private and len(repo.commits) == 2
    files = repo.commits[-1].files
    assert files.keys() == {
        ".gitattributes",
        "README.md",
        "stage.json",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert files["model.safetensors"] == (out / "model.safetensors").read_bytes()
    card = files["README.md"].decode()
    assert (
        not bad_metadata(card)
        and "license: mit" in card
        and "Not evaluated yet" in card
        and 'from_pretrained("me/mine")' in card
        and str(out.parent) not in card
    )
    assert not [path for path in out.rglob("*") if path.is_file() and hub.token.encode() in path.read_bytes()]
    assert json.loads((out / "stage.json").read_text())["config"]["push_to_hub"] is True


@pytest.mark.parametrize(
    "script, method",
    [
        ("pretrain", "pretraining"),
        ("reward", "reward modelling"),
        ("ppo", "PPO"),
        ("grpo", "GRPO"),
        ("rloo", "RLOO"),
        ("dpo", "direct preference optimisation"),
        ("distill", "on-policy distillation"),
    ],
)
def test_every_recipe_pushes(
    script, method, hub, client, world, chat_model, reward_model, preferences, tokens_dir, tokenizer_dir, tmp_path
):
    import importlib

    def data(path):
        return json.dumps([{"path": str(path)}])

    keys = {
        "pretrain": {
            "tokenizer": tokenizer_dir,
            "tokens_dir": tokens_dir,
            "sequence_length": 32,
            "max_eval_windows": 2,
            "max_steps": 1,
            "per_device_train_batch_size": 2,
        },
        "reward": {"datasets": data(preferences / "train.jsonl"), "max_steps": 1, "per_device_train_batch_size": 2},
        "ppo": {
            "datasets": data(world / "verses/train.jsonl"),
            "reward_model_path": reward_model,
            "total_episodes": 4,
            "per_device_train_batch_size": 4,
            "response_length": 4,
        },
        "grpo": {
            "datasets": data(world / "problems/train.jsonl"),
            "max_steps": 1,
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 4,
        },
        "rloo": {
            "datasets": data(world / "verses/train.jsonl"),
            "reward_model_path": reward_model,
            "max_steps": 1,
            "per_device_train_batch_size": 4,
            "max_completion_length": 4,
        },
        "dpo": {"datasets": data(preferences / "train.jsonl"), "max_steps": 1, "per_device_train_batch_size": 2},
        "distill": {
            "datasets": data(world / "verses/train.jsonl"),
            "teacher_model_name_or_path": chat_model,
            "max_steps": 1,
            "per_device_train_batch_size": 2,
            "max_completion_length": 4,
        },
    }[script]
    keys |= {
        "model_name_or_path": chat_model,
        "output_dir": tmp_path / script,
        "bf16": "false",
        "report_to": "none",
        "push_to_hub": "true",
        "hub_model_id": "team/mine",
        "hub_private_repo": "false",
        "seed": 0,
    }
    importlib.import_module(f"recipes.{script}").main(
        [str(word) for key, value in keys.items() for word in (f"--{key}", value)]
    )
    repo = hub.repos["model", "team/mine"]
    assert (
        len(hub.repos) == 1
        and len(repo.commits) == 2
        and not repo.private
        and f"Made by {method} of" in repo.commits[-1].files["README.md"].decode()
    )


def test_a_yaml_with_a_token_is_refused(tmp_path, hub, capsys):
    from eval.cli import UserError
    from recipes.run import step_argv
    from recipes.sft import main

    for number, text in enumerate((f"hub_token: {hub.token}", f"env: {{HF_TOKEN: {hub.token}}}")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text + "\n")
        assert (
            "holds a token" in (said := refused(capsys, lambda: main(["--config", str(path)])))
            and hub.token not in said
        )
        with pytest.raises(UserError, match="holds a token"):
            step_argv(
                {"name": "sft", "config": str(path)}, {"output_dir": "runs/tiny"}, tmp_path / "out", tmp_path, 0, []
            )
        assert not list((tmp_path / "configs").glob("*.yaml"))
