"""Attacks on the commands: launchers, folders that two write to, full disks, models that are not whole."""

import errno
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT

from eval.cli import UserError, command, disk_full


def error_of(capsys, main, *argv) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as exit_:
        main(list(argv))
    lines = capsys.readouterr().err.splitlines()
    assert exit_.value.code == 2 and [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


# ---- Launchers ----


@pytest.mark.slow
@pytest.mark.parametrize("config", ["cpu", "cpu_ddp"])
def test_one_line_and_exit_code_2_under_the_launcher(config, tmp_path):
    (tmp_path / "c.yaml").write_text("learning_ratee: 1\n")
    stage = ["-m", "recipes.pretrain", "--config", str(tmp_path / "c.yaml"), "--output_dir", str(tmp_path / "out")]
    launch = [sys.executable, "-m", "recipes.launch", "--config_file", f"accelerate_configs/{config}.yaml"]
    run = subprocess.run([*launch, *stage], capture_output=True, text=True, cwd=ROOT)
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert run.returncode == 2 and len(errors) == 1 and "unknown key learning_ratee" in errors[0]
    assert "Traceback" not in run.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "failure, code", [("called", 2), ("signal", 137), ("child", 2), ("interrupt", 130), (None, None)]
)
def test_the_launcher_ends_as_the_stage_does(monkeypatch, capsys, failure, code):
    monkeypatch.setattr("logging.disable", lambda level: None)
    from accelerate.commands import launch as accelerate
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from recipes import launch

    first = SimpleNamespace(exitcode=2, timestamp=0, local_rank=0, message="")
    raised = {
        "called": subprocess.CalledProcessError(2, ["x"]),
        "signal": subprocess.CalledProcessError(-9, ["x"]),
        "child": ChildFailedError.__new__(ChildFailedError),
        "interrupt": KeyboardInterrupt(),
    }
    raised["child"].get_first_failure = lambda: (0, first)
    given = []

    def launched(args):
        given.append((args.config_file, args.module, args.training_script, args.training_script_args))
        if failure:
            raise raised[failure]

    monkeypatch.setattr(accelerate, "launch_command", launched)
    argv = ["--config_file", "c.yaml", "-m", "recipes.sft", "--max_steps", "1"]
    if failure:
        with pytest.raises(SystemExit) as exit_:
            launch.main(argv)
        assert exit_.value.code == code
        assert ("ended by SIGKILL" in capsys.readouterr().err) == (failure == "signal")
    else:
        launch.main(argv)
    assert given == [("c.yaml", True, "recipes.sft", ["--max_steps", "1"])]


def test_of_several_processes_the_first_tells(monkeypatch, capsys):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)

    @command
    def main(argv=None):
        raise UserError("the file is missing: give another")

    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert error_of(capsys, main) == "error: the file is missing: give another"
    assert waited == [30.0]  # in which the launcher ends it


# ---- Folders and disks ----


def test_two_stages_do_not_share_a_folder(tmp_path, monkeypatch):
    from recipes.training import stage

    monkeypatch.setattr(stage, "PATIENCE", 0.2)
    code = "import sys, pathlib; from recipes.training.stage import hold; hold(pathlib.Path(sys.argv[1]));"
    code += " print('held', flush=True); sys.stdin.read()"
    held = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert held.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another stage is at work in"):
            stage.hold(tmp_path)
        monkeypatch.setenv("RANK", "1")
        stage.hold(tmp_path)  # the first process holds it for the others
        monkeypatch.delenv("RANK")
    finally:
        held.kill()
        held.wait()
    key = stage.hold(tmp_path)  # a killed one holds nothing
    assert stage.hold(tmp_path) == key and not list(tmp_path.iterdir())
    stage.release(key)
    assert key not in stage._HELD


FULL = [
    OSError(errno.ENOSPC, "No space left on device", "runs/x/config.json"),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 470"),
    Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL)
def test_a_disk_that_fills_up_is_one_line(error, capsys):
    @command
    def main(argv=None):
        try:
            raise error
        except Exception as first:
            raise RuntimeError("the checkpoint was not written") from first

    assert "there is no space left on the disk" in error_of(capsys, main)
    assert not disk_full(OSError(errno.ENOENT, "No such file")) and not disk_full(ValueError("x"))


def test_other_errors_keep_their_traceback():
    @command
    def main(argv=None):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        main()


# ---- What is no model, and no data ----


def model_in(folder, weights: bytes | None = None, **files) -> None:
    import torch
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    whole = save({"a": torch.zeros(100), "b": torch.ones(3)})
    (folder / "model.safetensors").write_bytes(whole if weights is None else weights)
    for name, text in {"config.json": "{}", "tokenizer_config.json": "{}", **files}.items():
        if text is not None:
            (folder / name).write_text(text)


def test_a_model_that_is_not_whole_is_not_pushed(tmp_path):
    import torch
    from safetensors.torch import save

    from recipes.publishing.hub import model_files

    model_in(tmp_path / "good")
    assert set(model_files(tmp_path / "good")) == {"config.json", "model.safetensors", "tokenizer_config.json"}
    half = save({"a": torch.zeros(100)})[:-40]
    index = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model.safetensors", "c": "gone.safetensors"}})
    broken = {
        "half": ({"weights": half}, "model.safetensors cannot be read"),
        "empty": ({"weights": b""}, "model.safetensors cannot be read"),
        "config": ({"config.json": None}, "config.json is missing"),
        "shard": ({"model.safetensors.index.json": index}, "1 weights of model.safetensors.index.json are missing"),
    }
    for name, (spoiled, message) in broken.items():
        model_in(tmp_path / name, **spoiled)
        with pytest.raises(UserError, match=message):
            model_files(tmp_path / name)


def test_what_a_folder_is_instead_of_a_model(tmp_path):
    from eval.generation.models import load_tokenizer

    model_in(tmp_path / "run/sft")
    model_in(tmp_path / "run/base", **{"tokenizer_config.json": None})
    with pytest.raises(UserError, match="is no model but a folder of some: give .*run/base or .*run/sft"):
        load_tokenizer(str(tmp_path / "run"))
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(str(tmp_path / "run/base"))


def test_data_that_is_none(tmp_path):
    from data_prep.shared.sources import load_source

    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(UserError, match="x.jsonl is a folder, though its name is a file's"):
        load_source({"path": str(tmp_path / "x.jsonl")})
    row = json.dumps({"messages": [{"role": "user", "content": "Où est-ce ?"}]}, ensure_ascii=False)
    (tmp_path / "latin.jsonl").write_text(f"{row}\n" * 3, encoding="latin-1")
    with pytest.raises(UserError, match="latin.jsonl"):
        load_source({"path": str(tmp_path / "latin.jsonl")})
    (tmp_path / "there.csv").write_text("prompt\nWho?\n")
    assert load_source({"path": str(tmp_path / "there.csv")})["prompt"] == ["Who?"]


def test_a_role_that_nobody_has_is_left_out_and_said(tmp_path, capsys):
    from recipes.training.setup import DataArguments, load_data

    good = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    alien = {"messages": [{"role": "alien", "content": "?"}, {"role": "assistant", "content": "!"}]}
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (good, alien, good)))
    args = DataArguments(datasets=[{"path": str(tmp_path / "x.jsonl")}])
    train, _ = load_data(args, ("messages",), SimpleNamespace(seed=0))
    assert len(train) == 2 and sum(args.intake[0]["left_out"].values()) == 1
    assert "1 of 3 rows left out" in capsys.readouterr().out and "alien" in str(args.intake[0]["left_out"])


def test_a_wrong_type_in_a_file_names_the_file(tmp_path, capsys):
    from recipes.sft import main

    (tmp_path / "c.yaml").write_text("learning_rate: fast\n")
    said = error_of(capsys, main, "--config", str(tmp_path / "c.yaml"), "--output_dir", str(tmp_path / "out"))
    assert "c.yaml" in said and "learning_rate" in said
