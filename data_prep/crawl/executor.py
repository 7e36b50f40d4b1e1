"""What runs a pipeline: datatrove's local, Slurm and Ray executors by name."""

import contextlib
import copy
import gzip
import importlib.util
import inspect
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec.compression
from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.base import PipelineStep

from eval.cli import UserError

ROOT = Path(__file__).resolve().parents[2]

# The time of writing stays out of the files, so that the same documents are the same bytes.
fsspec.compression.register_compression(
    "gzip", lambda file, **kwargs: gzip.GzipFile(fileobj=file, mtime=0, **kwargs), "gz", force=True
)


class Quiet:
    """The log in files instead of on the screen."""

    @contextlib.contextmanager
    def _quiet(self):
        from datatrove.utils.logging import setup_default_logger

        with self.logging_dir.open("stderr.log", "at") as log, contextlib.redirect_stderr(log):
            setup_default_logger()
            yield
        setup_default_logger()

    def run(self):
        with self._quiet():
            super().run()


class Executor(Quiet, LocalPipelineExecutor):
    """Processes of this machine."""

    def _launch_run_for_rank(self, *args, **kwargs):
        with self._quiet():
            return super()._launch_run_for_rank(*args, **kwargs)

    def run(self):
        import multiprocess

        # The server that the workers are forked from imports once what each would import anew for every stage.
        multiprocess.get_context(self.start_method).set_forkserver_preload(
            ["datatrove.pipeline.filters", "spacy", "trafilatura"]
        )
        super().run()


class RayExecutor(Quiet, RayPipelineExecutor):
    """A Ray cluster: the one that RAY_ADDRESS or this machine knows, else a new one on this machine."""

    def run(self):
        import ray

        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="warning", runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
        super().run()
        failed = self.get_incomplete_ranks()
        if failed:  # datatrove only logs it
            logs = self.logging_dir.resolve_paths("logs")
            raise RuntimeError(
                f"{len(failed)} tasks failed, the first is {failed[0]}: see {logs}/task_{failed[0]:05d}.log"
            )


class SlurmExecutor(Quiet, SlurmPipelineExecutor):
    """A Slurm queue; returns when the jobs are queued."""

    def _run_for_rank(self, *args, **kwargs):
        pipeline = self.pipeline
        self.pipeline = copy.deepcopy(pipeline)  # else a job of several tasks counts the earlier ones again for each
        try:
            return super()._run_for_rank(*args, **kwargs)
        finally:
            self.pipeline = pipeline


EXECUTORS = {"local": Executor, "slurm": SlurmExecutor, "ray": RayExecutor}
OURS = {"self", "pipeline", "tasks", "workers", "logging_dir", "depends", "skip_completed"}


def check_executor(name: str, options: dict) -> None:
    """Raises `UserError` before any work where the executor cannot start or does not take an option."""
    if name not in EXECUTORS:
        raise UserError(f"executor must be one of {', '.join(EXECUTORS)}, but is {name}")
    known = inspect.signature(EXECUTORS[name].__mro__[2].__init__).parameters
    unknown = options.keys() - (known.keys() - OURS)
    if unknown:
        raise UserError(
            f"executor_options: {name} takes no {', '.join(sorted(unknown))}; it takes"
            f" {', '.join(k for k in known if k not in OURS)}"
        )
    missing = [k for k, p in known.items() if k not in OURS and p.default is p.empty and k not in options]
    if missing:
        raise UserError(
            f"executor_options: {name} needs {', '.join(missing)}, such as "
            + '--executor_options \'{"partition": "cpu", "time": "10:00:00"}\''
        )
    if name == "slurm" and not shutil.which("sbatch"):
        raise UserError(
            "executor slurm needs sbatch, which is not here: run this on the login node of a Slurm cluster, or give"
            " --executor local"
        )
    if name == "ray" and not importlib.util.find_spec("ray"):
        raise UserError("executor ray needs Ray: pip install 'tumbler-recipes[ray]', or give --executor local")


def make_executor(
    name: str,
    options: dict,
    pipeline: list[PipelineStep | Callable],
    tasks: int,
    workers: int | None,
    logging_dir: Path,
    before: PipelineExecutor | None,
) -> PipelineExecutor:
    """datatrove's executor of that name. `before` is the executor of the stage that has to end first."""
    workers = workers or (1 if name == "local" else tasks)
    common = {"pipeline": pipeline, "tasks": tasks, "workers": min(workers, tasks), "logging_dir": str(logging_dir)}
    if name == "slurm":
        options = {"job_name": f"web-{logging_dir.name}"} | options
        if not options.keys() & {
            "env_command",
            "condaenv",
            "venv_path",
        }:  # the environment and the code of this process
            options["env_command"] = f"source {sys.prefix}/bin/activate\nexport PYTHONPATH={ROOT}"
        return SlurmExecutor(**common, depends=before, **options)
    return EXECUTORS[name](**common, **options)
