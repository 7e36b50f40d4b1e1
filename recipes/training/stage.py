"""One run of a recipe: resume, timing, and the record beside the model.

    stage = Stage(args, training_args, model_args)
    if not stage.finished:
        ...
        stage.train(trainer)
        stage.finish(trainer)

A stage is finished when its folder holds `stage.json`; it is written last. A run that was killed goes on from its last
complete checkpoint (see `recipes.training.checkpoints`).
"""

import dataclasses
import fcntl
import json
import math
import os
import resource
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from eval.cli import UserError, output_folder, write_json
from eval.report.stages import METHODS
from eval.shared.progress_file import ShareDone
from recipes.publishing.hub import hub_id
from recipes.training.checkpoints import last_complete_checkpoint

PATIENCE = 10  # seconds that a killed stage's helpers may take to go
_HELD: dict[tuple[int, int], int] = {}  # (device, number) of a folder -> the descriptor by which this process holds it
# Dense bf16 peak in FLOP/s by the name CUDA reports (vendors' data sheets); `peak_flops` overrides.
PEAK_FLOPS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def world_size() -> int:
    """Processes of this run."""
    return int(os.environ.get("WORLD_SIZE", 1))


def git_commit() -> str | None:
    run = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True
    )
    return run.stdout.strip() or None


def peak_memory_gb() -> float:
    """Peak memory of this process: of the GPU where there is one, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def versions() -> dict[str, str]:
    """Of the libraries that train."""
    import torch
    import transformers
    import trl

    return {library.__name__: library.__version__ for library in (torch, transformers, trl)}


def device_name(training_args) -> str:
    import torch

    return torch.cuda.get_device_name() if training_args.device.type == "cuda" else training_args.device.type


def peak_flops(args, device: str) -> float | None:
    """Peak FLOP/s of one device of that name; None where it is not known."""
    return args.peak_flops or next((peak for name, peak in PEAK_FLOPS.items() if name in device), None)


def logged_tokens(history: list[dict]) -> int | None:
    """The last count of tokens in a TRL trainer's log."""
    return next((log["num_tokens"] for log in reversed(history) if "num_tokens" in log), None)


def hold(folder: Path) -> tuple[int, int]:
    """Hold a stage's folder until `release`, or until this process ends; its first process does, for all. The folder
    itself is locked, so that no file of it is left.

    Returns:
        What `release` takes.

    Raises:
        UserError: another stage is at work there.
    """
    key = (folder.stat().st_dev, folder.stat().st_ino)
    if os.environ.get("RANK", "0") != "0" or key in _HELD:
        return key
    place = os.open(folder, os.O_RDONLY)
    for _ in range(int(10 * PATIENCE)):
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _HELD[key] = place
            return key
        except BlockingIOError:
            time.sleep(0.1)
        except OSError as error:  # some network disks lock no folders
            print(f"note: {folder} cannot be locked ({error.strerror}): let no other stage write there")
            os.close(place)
            return key
    os.close(place)
    raise UserError(f"another stage is at work in {folder}: wait for it, or choose another output_dir")


def release(key: tuple[int, int]) -> None:
    """Let go of a folder that this process holds."""
    if key in _HELD:
        os.close(_HELD.pop(key))


def merge_adapter(folder: Path, loader: str, trained) -> None:
    """Put the adapter in a folder into its base model, and write that in the base's precision in its place.

    Args:
        loader: the transformers class of the base model.
        trained: the base model as it was trained, whose end and padding tokens are the chat template's.
    """
    import torch
    import transformers
    from peft import PeftConfig, PeftModel

    base = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    head = {"num_labels": 1} if "SequenceClassification" in loader else {}  # a reward model's
    model = getattr(transformers, loader).from_pretrained(base, **head)
    dtype = model.dtype
    merged = PeftModel.from_pretrained(model.to(torch.float32), str(folder)).merge_and_unload()
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(merged.config, key, getattr(trained.config, key))
    if trained.can_generate():
        merged.generation_config = trained.generation_config
    merged.to(dtype).save_pretrained(folder)
    for path in folder.glob("adapter_*"):
        path.unlink()


def refuse_own_start(models: list[str | None], output_dir: str) -> None:
    """Raises `UserError` where the stage would write over a model that it starts from."""
    for path in models:
        if path and Path(path).is_dir() and Path(path).resolve() == Path(output_dir).resolve():
            raise UserError(f"output_dir {output_dir} is the model that the stage starts from: choose another")


class Stage:
    """One run of a recipe into `output_dir`: resume, timing, `stage.json`.

    Attributes:
        finished: an earlier run completed; there is nothing to do.
        checkpoint: where to resume, or None.
    """

    def __init__(self, args, training_args, model_args):
        self.args, self.training_args, self.parent = args, training_args, model_args.model_name_or_path
        models = [self.parent, *(getattr(part, "reward_model_path", None) for part in (args, training_args))]
        refuse_own_start(models, training_args.output_dir)
        self.folder = output_folder(training_args.output_dir)
        self._held = hold(self.folder)
        self.config = _plain(args) | _plain(training_args) | _plain(model_args)
        data = [str(source.get("path")) for source in self.config.get("datasets") or []]
        named = {path: hub_id(path) for path in (*models, *data)}
        self.on_hub = {path: repo_id for path, repo_id in named.items() if repo_id}
        self.repo_id = self._repo_id() if training_args.push_to_hub else None
        training_args.push_to_hub = False  # Trainer's own push makes public repositories of many commits
        self.finished = args.resume and (self.folder / "stage.json").exists()
        self.checkpoint = last_complete_checkpoint(self.folder) if args.resume else None
        if not args.resume and any(self.folder.glob("checkpoint-*")):
            raise UserError(
                f"{self.folder} holds checkpoints of an earlier run and resume is false: delete it or choose another"
                " output_dir"
            )
        if self.finished:
            print(f"{self.folder} is finished (stage.json): delete it to train again")
            ShareDone()(1.0)
            self._push()
            release(self._held)
        elif self.checkpoint:
            print(f"continuing from {self.checkpoint}")
        self.earlier_seconds = 0.0  # of killed runs, up to their last checkpoint
        if self.finished or self.checkpoint:
            before = self._read("stage.json" if self.finished else "progress.json")
            self.earlier_seconds = before.get("seconds", 0.0)
            self._note_changes(before)
        self.start = time.perf_counter()

    def _note_changes(self, before: dict) -> None:
        """Say where this run has other settings, or other processes, than its record from `before`."""
        now = json.loads(json.dumps(self.config, default=str))
        then = before.get("config", now)
        known = [key for key in then if key in now and key not in ("output_dir", "resume")]
        changed = [key for key in known if now[key] != then[key]]
        if changed:
            print(f"note: it was started with other settings ({', '.join(changed)})")
        processes = before.get("world_size", world_size())
        if not self.finished and processes != world_size():
            print(
                f"note: it was started with {processes} processes and goes on with {world_size()}: the rest of "
                "the epoch is dealt out otherwise, so that some rows may come twice and others not at all"
            )

    def _repo_id(self) -> str | None:
        """Where the first process is to push; asked of the Hub before any work."""
        from recipes.publishing.hub import check_access

        if self.config.get("use_peft") and not self.args.merge_adapter and self.parent not in self.on_hub:
            raise UserError(
                f"push_to_hub: the adapter would need {self.parent}, a folder of this machine: push the run with"
                " `python -m recipes.push` when it is finished"
            )
        namespace, _, name = (self.training_args.hub_model_id or self.folder.resolve().name).rpartition("/")
        return f"{check_access(namespace or None)}/{name}" if os.environ.get("RANK", "0") == "0" else None

    def _push(self) -> None:
        """Push the model, with a card made of `stage.json`, in one commit; private unless `hub_private_repo`
        is false."""
        if self.repo_id:
            from recipes.publishing.hub import push
            from recipes.publishing.model_repository import stage_files

            paths = (str(source["path"]) for source in self.config.get("datasets") or [])
            data = [self.on_hub[path] for path in paths if path in self.on_hub]
            card = {"base_model": self.on_hub.get(self.parent), "datasets": data}
            files = stage_files(self.folder, self.repo_id, self.args.hub_license, **card)
            push(self.repo_id, "model", files, self.training_args.hub_private_repo is not False)

    def _read(self, name: str) -> dict:
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}

    def seconds(self) -> float:
        return self.earlier_seconds + time.perf_counter() - self.start

    def callbacks(self, **constants) -> list:
        """The log (with `constants` in every row), the clock that survives a kill, and how far the stage is, for the
        pipeline that waits for it."""
        from transformers import TrainerCallback

        from recipes.training.callbacks import JsonlLog

        stage, said = self, ShareDone()

        class Progress(TrainerCallback):
            def on_train_begin(self, args, state, control, **kwargs):
                said(state.global_step / state.max_steps)

            def on_step_end(self, args, state, control, **kwargs):
                said(state.global_step / state.max_steps)

            def on_save(self, args, state, control, **kwargs):
                if state.is_world_process_zero:
                    write_json(
                        stage.folder / "progress.json",
                        {"seconds": stage.seconds(), "config": stage.config, "world_size": world_size()},
                        default=str,
                    )

        return [JsonlLog(self.folder / "log.jsonl", constants), Progress()]

    def train(self, trainer) -> None:
        """Train a transformers `Trainer`, from the checkpoint if there is one.

        Raises:
            UserError: the checkpoint cannot be loaded.
        """
        if not self.checkpoint:
            trainer.train()
            return
        from transformers import TrainerCallback

        steps = []

        class Steps(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                steps.append(state.global_step)

        trainer.add_callback(Steps())
        try:
            self._go_on(trainer)
        except Exception as error:
            if steps or isinstance(error, UserError):
                raise
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
            raise UserError(
                f"the run cannot go on from {self.checkpoint} ({why}):"
                " it is damaged, or other settings no longer fit it; give back the old settings, or delete it"
            ) from None

    def _go_on(self, trainer) -> None:
        """Train from the checkpoint."""
        state, args = json.loads((self.checkpoint / "trainer_state.json").read_text()), self.training_args
        # TRL's SFT and reward trainers would count tokens from 0 again
        trainer._total_train_tokens = logged_tokens(state["log_history"]) or 0
        if args.max_steps > 0:
            same_end = args.max_steps == state["max_steps"]
        else:
            same_end = math.ceil(args.num_train_epochs) == state["num_train_epochs"]
        if state["global_step"] >= state["max_steps"] and same_end:
            trainer._run_epoch = lambda **_: None  # killed after its last step: Trainer would take one more
        trainer.train(resume_from_checkpoint=str(self.checkpoint))

    def _data(self, dataset, left_out: Mapping) -> dict:
        """What the record says of the training data: rows trained on, rows read, and why others were left out, here
        and at each source."""
        intake = getattr(self.args, "intake", [])
        why = Counter(left_out)
        for source in intake:
            why.update(source["left_out"])
        paths = ", ".join(str(source["path"]) for source in self.config.get("datasets") or [])
        record = {"path": paths, "fingerprint": dataset._fingerprint, "rows": len(dataset)}
        if intake:
            rows_in = sum(source["rows_in"] for source in intake)
            record |= {"rows_in": rows_in, "left_out": dict(why), "sources": intake}
        return record

    def finish(
        self,
        trainer,
        datasets: Sequence = (),
        tokens: int | None = None,
        flops: float | None = None,
        left_out: Mapping = MappingProxyType({}),
    ) -> None:
        """Save the model and its tokenizer, then the record, and push the model if asked.

        Args:
            datasets: what was trained on, without what the stage left out.
            left_out: how many rows the stage left out, by reason.
            tokens: tokens trained on, prompts and padding left out where the trainer knows.
            flops: of training in all; None where it was not counted.
        """
        trainer.save_model(str(self.folder))
        if not trainer.is_world_process_zero():
            return  # the first process alone holds the folder
        if self.args.merge_adapter:
            trained = trainer.accelerator.unwrap_model(trainer.model).get_base_model()
            merge_adapter(self.folder, METHODS[self.args.METHOD][1], trained)
        trainer.processing_class.save_pretrained(self.folder)
        record = {
            "method": self.args.METHOD,
            "role": self.args.role or METHODS[self.args.METHOD][0],
            "command": self.args.command,
            "git_commit": git_commit(),
            "config": self.config,
            "datasets": [self._data(d, left_out) if hasattr(d, "_fingerprint") else d for d in datasets],
            "parent": self.parent,
            "on_hub": self.on_hub,
            **self._work(trainer, tokens, flops),
            "versions": versions(),
        }
        write_json(self.folder / "stage.json", record, default=str)
        (self.folder / "progress.json").unlink(missing_ok=True)
        self._push()
        release(self._held)

    def _work(self, trainer, tokens: int | None, flops: float | None) -> dict:
        """What the record says of the work: time, steps, tokens, FLOPs, memory, cost, and on what it was done."""
        seconds, world = self.seconds(), trainer.accelerator.num_processes
        device = device_name(self.training_args)
        peak, price = peak_flops(self.args, device), self.args.price_per_hour
        return {
            "seconds": round(seconds, 2),
            "steps": trainer.state.global_step,
            "tokens": tokens,
            "flops": flops,
            "tokens_per_second": round(tokens / seconds, 1) if tokens else None,
            "mfu": flops / seconds / (peak * world) if flops and peak else None,
            "device": device,
            "world_size": world,
            "peak_memory_gb": round(peak_memory_gb(), 2),
            "cost": round(price * world * seconds / 3600, 2) if price else None,
        }


def _plain(part) -> dict:
    """A config's fields, without secrets."""
    return {
        f.name: getattr(part, f.name)
        for f in dataclasses.fields(part)
        if f.name not in ("hub_token", "push_to_hub_token")
    }
