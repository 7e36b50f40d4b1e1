"""Tokens on disk are the documents, split by their ids; a killed run writes the same; training goes on at the exact
window."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import forks
import numpy as np
import pytest
import yaml
from conftest import ROOT, SIZES, rows

from data_prep import tokens as tokens_module
from data_prep.shared.token_dataset import TokenDataset
from data_prep.tokens import is_validation, merge
from eval.cli import UserError


@pytest.fixture(scope="module")
def expected(world, documents, tokenizer) -> dict[str, set[tuple]]:
    """Each document of a split as token ids, the end token behind it."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    out = {"train": set(), "validation": set()}
    for path in [*documents.glob("*.jsonl"), *(world / "textbooks").glob("*.jsonl")]:
        for row in rows(path):
            out["validation" if is_validation(row["id"], 0.1) else "train"].add((*tokenizer.encode(row["text"]), end))
    return out


def read(tokens_dir, split) -> list[tuple]:
    tokens = np.fromfile(
        tokens_dir / f"{split}.ds", dtype=json.loads((tokens_dir / "tokens.json").read_text())["dtype"]
    )
    ends = np.fromfile(tokens_dir / f"{split}.ds.index", dtype="<u8").astype(int)
    assert ends[-1] == len(tokens)
    return [tuple(part.tolist()) for part in np.split(tokens, ends[:-1])]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_tokens_are_the_documents(tokens_dir, expected, split):
    documents = read(tokens_dir, split)
    assert set(documents) == expected[split] and len(documents) == len(set(documents))
    record = json.loads((tokens_dir / "tokens.json").read_text())[split]
    assert record == {"tokens": sum(map(len, documents)), "documents": len(documents)}
    assert not list(tokens_dir.glob("parts"))


def test_validation_is_disjoint_from_training(tokens_dir):
    train, validation = (set(read(tokens_dir, split)) for split in ("train", "validation"))
    assert train and validation and not train & validation


def test_the_split_hangs_on_the_id_alone():
    ids = [f"doc-{i}" for i in range(4000)]
    share = sum(is_validation(i, 0.1) for i in ids) / len(ids)
    assert abs(share - 0.1) < 0.015
    assert {i for i in ids if is_validation(i, 0.05)} < {i for i in ids if is_validation(i, 0.1)}


def test_windows_are_the_documents_end_to_end(tokens_dir):
    data = TokenDataset(str(tokens_dir), "train", 64)
    whole = np.concatenate([np.array(d) for d in read(tokens_dir, "train")])
    windows = np.concatenate([data[i]["input_ids"].numpy() for i in range(len(data))])
    assert len(data) == len(whole) // 64 and np.array_equal(windows, whole[: len(data) * 64])
    assert all((data[i]["labels"] == data[i]["input_ids"]).all() for i in (0, len(data) - 1))


def test_the_dataset_pickles_without_its_tokens(tokens_dir):
    data = TokenDataset(str(tokens_dir), "train", 64)
    assert "tokens" not in vars(data) and len(data)  # nothing is mapped before it is read
    before = data[3]["input_ids"]
    copy = pickle.loads(pickle.dumps(data))
    assert "tokens" not in vars(copy) and len(pickle.dumps(data)) < 1000
    assert (copy[3]["input_ids"] == before).all() and isinstance(copy.tokens, np.memmap)


def test_a_file_that_is_cut_off_is_refused(tokens_dir, tmp_path):
    (tmp_path / "tokens.json").write_bytes((tokens_dir / "tokens.json").read_bytes())
    (tmp_path / "train.ds").write_bytes((tokens_dir / "train.ds").read_bytes()[:-2])
    with pytest.raises(UserError, match="train.ds has .* bytes, but tokens.json says"):
        TokenDataset(str(tmp_path), "train", 64)


# ---- Writing ----


def write(folder: Path, name: str, texts: list[str], ids: bool = True) -> None:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"text": text} | ({"id": f"{name}-{i}"} if ids else {})) for i, text in enumerate(texts)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def arguments(folder: Path, tokenizer, out: Path, **options) -> list[str]:
    config = {
        "sources": [{"path": str(folder)}],
        "validation_fraction": 0.2,
        "tokenizer": str(tokenizer),
        "output_dir": str(out),
    } | options
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    return ["--config", str(path)]


def test_tokens_do_not_hang_on_the_number_of_tasks(world, documents, tokenizer_dir, tokens_dir, tmp_path):
    sources = [{"path": str(documents)}, {"path": str(world / "textbooks")}]
    tokens_module.main(
        arguments(documents, tokenizer_dir, tmp_path / "t", sources=sources, validation_fraction=0.1, seed=5, tasks=2)
    )
    for split in ("train", "validation"):
        assert sorted(read(tmp_path / "t", split)) == sorted(read(tokens_dir, split))
    assert read(tmp_path / "t", "train") != read(tokens_dir, "train")  # another seed, another order


def test_documents_without_an_id_are_split_by_their_text(tokenizer_dir, tmp_path):
    """So that the split hangs neither on the file nor on the task that read them, and copies do not part."""
    texts = [f"text number {i}" for i in range(60)]
    write(tmp_path / "one", "a", texts + texts[:20], ids=False)
    for name, part in (("b", texts[30:]), ("a", texts[:30] + texts[:20])):
        write(tmp_path / "two", name, part, ids=False)
    tokens_module.main(arguments(tmp_path / "one", tokenizer_dir, tmp_path / "t1"))
    tokens_module.main(arguments(tmp_path / "two", tokenizer_dir, tmp_path / "t2", tasks=2))
    for split in ("train", "validation"):
        assert sorted(read(tmp_path / "t1", split)) == sorted(read(tmp_path / "t2", split))
    assert not set(read(tmp_path / "t1", "train")) & set(read(tmp_path / "t1", "validation"))


def test_vocabularies_above_65536_take_four_bytes(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(
        models.WordLevel({f"w{i}": i for i in range(70000)} | {"<|endoftext|>": 70000}, unk_token="w0")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(
        tmp_path / "tokenizer"
    )
    write(tmp_path / "in", "a", [f"w{69000 + i} w{i}" for i in range(50)])
    tokens_module.main(arguments(tmp_path / "in", tmp_path / "tokenizer", tmp_path / "out"))
    documents = [d for split in ("train", "validation") for d in read(tmp_path / "out", split)]
    assert sorted(documents) == [(69000 + i, i, 70000) for i in range(50)]


def test_the_merge_is_datatroves(tmp_path):
    from datatrove.pipeline.tokens import DocumentTokenizerMerger

    draw = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for part in range(3):
        ends = np.cumsum(draw.integers(1, 40, size=50)).astype("<u8")
        ends.tofile(tmp_path / "in" / f"{part}.ds.index")
        draw.integers(0, 2**16, size=int(ends[-1]), dtype="<u2").tofile(tmp_path / "in" / f"{part}.ds")
    merge(sorted((tmp_path / "in").glob("*.ds")), tmp_path / "ours.ds", 2, seed=4)
    DocumentTokenizerMerger(
        str(tmp_path / "in"), str(tmp_path), "theirs", seed=4, save_final_metadata=False, progress=False
    ).run()
    for end in (".ds", ".ds.index"):
        assert (tmp_path / f"ours{end}").read_bytes() == (tmp_path / f"000_theirs{end}").read_bytes()


WRITTEN = ("train.ds", "train.ds.index", "validation.ds", "validation.ds.index", "tokenizer.json", "tokens.json")


@pytest.mark.parametrize(
    "workers, moment", [(1, "parts/0/logs/completions/00000"), (2, "parts/1/logs/completions/00000"), (1, "train.ds")]
)
def test_a_killed_run_goes_on_and_writes_the_same(tokenizer_dir, tmp_path, workers, moment):
    """Killed behind a task, in the second source with two workers, while the parts are merged."""
    for source in ("x", "y"):
        for name in "abcd":
            write(
                tmp_path / source, name, [f"{source} {name} text {i} " + "and so on " * (i % 50) for i in range(500)]
            )
    sources = [{"path": str(tmp_path / source)} for source in ("x", "y")]
    options = {"sources": sources, "tasks": 4, "workers": workers}
    argv, log = arguments(tmp_path / "x", tokenizer_dir, tmp_path / "out", **options), tmp_path / "log"
    process, deadline = forks.start("data_prep.tokens", argv, log), time.time() + 60
    while not (tmp_path / "out" / moment).exists():
        assert process.is_alive() and time.time() < deadline, log.read_text()
        time.sleep(0.001)
    process.kill()
    process.join()
    assert not (tmp_path / "out" / "tokens.json").exists()
    with pytest.raises(
        UserError, match="tokens.json does not exist" if moment == "train.ds" else "train.ds does not exist"
    ):
        TokenDataset(str(tmp_path / "out"), "train", 8)
    done = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "parts").glob("*/logs/completions/*")}
    assert done and (len(done) == 8) == (moment == "train.ds")
    again = tmp_path / "again.log"
    assert forks.run("data_prep.tokens", argv, again) == 0, again.read_text()
    assert f"{tmp_path}/x: {sum(p.parts[-4] == '0' for p in done)} of 4 tasks are finished" in again.read_text()
    tokens_module.main(arguments(tmp_path / "x", tokenizer_dir, tmp_path / "unbroken", **options))
    for name in WRITTEN:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes(), name
    assert not (tmp_path / "out" / "parts").exists()


def test_other_settings_or_documents_start_afresh(tokenizer_dir, tmp_path, capsys):
    write(tmp_path / "in", "a", [f"text {i}" for i in range(40)])
    with pytest.raises(SystemExit):  # leaves the parts
        tokens_module.main(arguments(tmp_path / "in", tokenizer_dir, tmp_path / "out", validation_fraction=1e-9))
    write(tmp_path / "in", "a", [f"text {i}" for i in range(50)])
    tokens_module.main(arguments(tmp_path / "in", tokenizer_dir, tmp_path / "out"))
    assert "are finished" not in capsys.readouterr().out
    assert sum(len(read(tmp_path / "out", split)) for split in ("train", "validation")) == 50


def test_progress_is_shown(tokenizer_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("data_prep.shared.progress.SECONDS", 0)
    write(tmp_path / "in", "a", [f"text {i}" for i in range(40)])
    tokens_module.main(arguments(tmp_path / "in", tokenizer_dir, tmp_path / "out"))
    printed = capsys.readouterr().out
    assert f"[tokens] {tmp_path}/in, task 1 of 1: 40 documents, 100%, 0 s left" in printed
    assert "[tokens] merging train.ds: 1 documents, " in printed


@pytest.mark.parametrize(
    "options, message",
    [
        ({"end_of_text": "<|nothing|>"}, "is not a token of"),
        ({"validation_fraction": 0.0}, "must lie between 0 and 1"),
        ({"validation_fraction": 1e-9}, "no document fell into validation"),
        ({"sources": [{"path": "/nowhere"}]}, "/nowhere does not exist"),
        ({"tokenizer": "/nowhere"}, "/nowhere does not exist"),
        ({"sources": [{"path": "TEXTBOOKS", "colum": "text"}]}, "unknown key colum"),
        ({"sources": [{"path": "TEXTBOOKS", "text_column": "body"}]}, "body"),
        ({"tasks": 10**7}, "more files than may be open"),
    ],
)
def test_bad_input_is_one_line(world, tokenizer_dir, tmp_path, capsys, options, message):
    options = {
        "sources": [{"path": "TEXTBOOKS"}],
        "tokenizer": str(tokenizer_dir),
        "output_dir": str(tmp_path / "out"),
    } | options
    (tmp_path / "c.yaml").write_text(json.dumps(options).replace("TEXTBOOKS", str(world / "textbooks")))
    with pytest.raises(SystemExit) as exit_:
        tokens_module.main(["--config", str(tmp_path / "c.yaml")])
    error = capsys.readouterr().err.splitlines()
    assert exit_.value.code == 2 and error[-1].startswith("error: ") and message in error[-1]


# ---- A corpus of 10 GB ----

OPEN = """
import sys, time
from data_prep.shared.token_dataset import TokenDataset
start = time.perf_counter()
data = TokenDataset(sys.argv[1], "train", 1024)
opened = len(data), time.perf_counter() - start
windows = [data[i]["input_ids"] for i in range(0, len(data), len(data) // 100)]
assert all(window.shape == (1024,) for window in windows) and int(data[len(data) - 1]["input_ids"][-1]) == 7
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
batches = BatchSampler(SequentialSampler(data), 8, drop_last=False)  # `train_sampling_strategy: sequential`
loader = DataLoader(data, batch_sampler=batches)
assert next(iter(loader))["labels"].shape == (8, 1024)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**10
print(*opened, peak)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_ten_gigabytes_are_opened_at_once(tmp_path):
    size = 10 * 10**9
    with (tmp_path / "train.ds").open("wb") as file:  # sparse: takes no room on the disk
        file.truncate(size // 2048 * 2048)
        file.seek(-2, os.SEEK_END)
        file.write(b"\7\0")
    record = {"dtype": "<u2", "train": {"tokens": size // 2048 * 1024, "documents": 1}}
    (tmp_path / "tokens.json").write_text(json.dumps(record))
    run = subprocess.run([sys.executable, "-c", OPEN, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    length, seconds, peak = map(float, run.stdout.split())
    assert length == 4_882_812 and seconds < 1 and peak < 300, run.stdout  # MiB, 225 of which are torch


# ---- Interrupted at step k ----


def _train(argv: list[str], seen: str, rank: int, processes: int, port: int, die: int) -> None:
    """Pretrain as process `rank`; write down the windows of each step; die when step `die` is done."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ |= {"ACCELERATE_USE_CPU": "true"}
    if processes == 1:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            del os.environ[name]
    multiprocessing.set_start_method(
        "fork", force=True
    )  # of the loader workers, as in a process that was not forked from a server
    from transformers import Trainer
    from transformers.trainer_callback import CallbackHandler

    step, end = Trainer.training_step, CallbackHandler.on_step_end
    file = open(f"{seen}-{rank}.jsonl", "w")  # noqa: SIM115, the process ends before it is closed

    def training_step(self, model, inputs, *args, **kwargs):
        file.write(json.dumps([self.state.global_step + 1, inputs["input_ids"].tolist()]) + "\n")
        file.flush()
        return step(self, model, inputs, *args, **kwargs)

    def on_step_end(self, args, state, control, *rest):
        out = end(self, args, state, control, *rest)
        if state.global_step == die:
            os.kill(os.getpid(), signal.SIGKILL)
        return out

    Trainer.training_step, CallbackHandler.on_step_end = training_step, on_step_end
    log = os.open(f"{seen}-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from recipes.pretrain import main

    main(argv)


def windows_seen(argv: list, seen: Path, processes: int, die: int = 0) -> list[dict[int, list]]:
    """For each process: step -> the token ids that it trained on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [
        forks._forks.Process(target=_train, args=([str(a) for a in argv], str(seen), rank, processes, port, die))
        for rank in range(processes)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(400)
        expected = -signal.SIGKILL if die else 0
        assert process.exitcode == expected, "".join(
            Path(f"{seen}-{r}.log").read_text()[-3000:] for r in range(processes)
        )
    steps = [{} for _ in running]
    for rank, out in enumerate(steps):
        for step, ids in rows(f"{seen}-{rank}.jsonl"):
            out.setdefault(step, []).extend(map(tuple, ids))  # gradient accumulation: several a step
    return steps


@pytest.mark.parametrize(
    "processes, order, loaders", [(1, "random", (0, 2)), (2, "random", (0, 2)), (1, "sequential", (2,))]
)
def test_an_interrupted_run_sees_the_windows_of_an_unbroken_one(
    tokens_dir, tokenizer_dir, tmp_path, processes, order, loaders
):
    """Killed at step 5, taken up from the checkpoint of step 4, into the second epoch; with and without loader
    workers."""
    data = TokenDataset(str(tokens_dir), "train", 64)
    batch = len(data) // 4 // 2 // processes  # a step is 2 batches a process: an epoch of 4 steps and a rest
    config = {
        "model_config": {"model_type": "llama", **SIZES["llama"]},
        "tokenizer": str(tokenizer_dir),
        "tokens_dir": str(tokens_dir),
        "sequence_length": 64,
    }
    config |= {
        "max_steps": 7,
        "save_steps": 2,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 2,
        "use_cpu": True,
        "bf16": False,
        "seed": 3,
    }
    config |= {"train_sampling_strategy": order, "max_eval_windows": 1, "per_device_eval_batch_size": 1}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))

    def run(name: str, workers: int, die: int = 0) -> list[dict[int, list]]:
        argv = ["--config", tmp_path / "c.yaml", "--output_dir", tmp_path / name, "--dataloader_num_workers", workers]
        return windows_seen(argv, tmp_path / name, processes, die)

    whole = run("whole", workers=0)
    killed = run("killed", workers=2, die=5)
    for workers in loaders:
        shutil.copytree(tmp_path / "killed", tmp_path / f"resumed-{workers}")
    resumed = {workers: run(f"resumed-{workers}", workers) for workers in loaders}
    for rank in range(processes):
        assert list(whole[rank]) == [1, 2, 3, 4, 5, 6, 7] and list(killed[rank]) == [1, 2, 3, 4, 5]
        assert all(killed[rank][step] == whole[rank][step] for step in killed[rank])
        for workers in loaders:
            assert list(resumed[workers][rank]) == [5, 6, 7]
            assert all(resumed[workers][rank][step] == whole[rank][step] for step in (5, 6, 7)), f"{workers} workers"
    # and they are the right ones: in an epoch each window once, over all processes
    first = [window for steps in whole for step in (1, 2, 3, 4) for window in steps[step]]
    known = [tuple(data[i]["input_ids"].tolist()) for i in range(len(data))]
    assert len(first) == 4 * 2 * batch * processes and Counter(first) <= Counter(known)
    if order == "sequential":
        assert first == known[: len(first)]
    else:
        assert (
            first != known[: len(first)] and whole[0][5][:batch] != whole[0][1][:batch]
        )  # shuffled, and anew in each epoch
