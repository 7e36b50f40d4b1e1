"""Modules that moved into folders keep their old names for one release, with a DeprecationWarning.

    import eval.harness                  # is eval.lm_harness.model
    python -m data_prep.score --web_dir runs/tiny/web --truth runs/tiny/world/truth.json   # runs data_prep.crawl.score

`eval/__init__.py` installs it, as it is the first of our modules that any command loads.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from typing import Any

MOVED = {  # old name: new name
    "data_prep.chunks": "data_prep.shared.chunks",
    "data_prep.executor": "data_prep.crawl.executor",
    "data_prep.filters": "data_prep.crawl.filters",
    "data_prep.funnel": "data_prep.crawl.funnel",
    "data_prep.labels": "data_prep.labelling.labels",
    "data_prep.ngrams": "data_prep.shared.ngrams",
    "data_prep.pii": "data_prep.crawl.pii",
    "data_prep.readers": "data_prep.crawl.readers",
    "data_prep.rows": "data_prep.shared.dataset_rows",
    "data_prep.score": "data_prep.crawl.score",
    "data_prep.sources": "data_prep.shared.sources",
    "data_prep.token_dataset": "data_prep.shared.token_dataset",
    "data_prep.tokenizer_compare": "data_prep.tokenizer_pages.compare",
    "data_prep.tokenizer_show": "data_prep.tokenizer_pages.show",
    "data_prep.warc": "data_prep.crawl.warc",
    "data_prep.work": "data_prep.shared.progress",
    "data_prep.world.asked": "data_prep.world.wording_benchmarks",
    "eval.answers": "eval.checking.answers",
    "eval.benchmarks": "eval.lm_harness.tasks",
    "eval.countdown": "eval.checking.countdown",
    "eval.divergence": "eval.generation.divergence",
    "eval.documents": "eval.shared.documents",
    "eval.generate": "eval.generation.generate",
    "eval.harness": "eval.lm_harness.model",
    "eval.judges": "eval.judging.judges",
    "eval.math_code": "eval.checking.math_code",
    "eval.messages": "eval.shared.messages",
    "eval.models": "eval.generation.models",
    "eval.numbers": "eval.checking.numbers",
    "eval.programs": "eval.checking.programs",
    "eval.ratings": "eval.judging.ratings",
    "eval.replies": "eval.generation.replies",
    "eval.report.probed": "eval.report.sections.probes",
    "eval.report.probe_chapters": "eval.report.sections.probes",
    "eval.report.second_tries": "eval.report.sections.second_tries",
    "eval.report.story": "eval.report.chapters",
    "eval.share": "eval.shared.progress_file",
    "eval.tampering": "eval.checking.tampering",
    "eval.thinking": "eval.checking.thinking",
    "eval.tool_loop": "eval.generation.tool_loop",
    "eval.vllm_batch": "eval.generation.vllm_batch",
    "eval.web_guard": "eval.shared.web_guard",
    "eval.wording": "eval.checking.wording",
    "recipes.benchmark_pretrain": "recipes.planning.benchmark_pretrain",
    "recipes.callbacks": "recipes.training.callbacks",
    "recipes.chat_web": "recipes.chat_ui.web",
    "recipes.common": "recipes.training.setup",
    "recipes.grpo_trainer": "recipes.trainers.grpo",
    "recipes.hub": "recipes.publishing.hub",
    "recipes.monitor": "recipes.training.monitor",
    "recipes.muon": "recipes.training.muon",
    "recipes.packing": "recipes.training.packing",
    "recipes.ppo_trainer": "recipes.trainers.ppo",
    "recipes.processes": "recipes.pipeline.processes",
    "recipes.seen": "recipes.chat_ui.token_view",
    "recipes.stage": "recipes.training.stage",
    "recipes.starters": "recipes.chat_ui.starters",
    "recipes.talk": "recipes.chat_ui.session",
    "recipes.time_left": "recipes.pipeline.time_left",
    "recipes.votes": "recipes.chat_ui.votes",
}


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under its old name; what is loaded is the module itself, not a copy."""

    def __init__(self):
        self.specs: dict[str, importlib.machinery.ModuleSpec] = {}  # of the new modules, by old name

    def find_spec(self, name, path=None, target=None):
        if name not in MOVED:
            return None
        file = importlib.util.find_spec(MOVED[name]).origin  # `python -m` names it in its help
        return importlib.util.spec_from_loader(name, self, origin=file)

    def create_module(self, spec):
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is {new} now", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module) -> None:
        """The module has run under its new name; it gets back the spec that the import has replaced."""
        module.__spec__ = self.specs.pop(module.__spec__.name)

    def get_code(self, name: str):
        """What `python -m` runs under an old name."""
        loader: Any = importlib.util.find_spec(MOVED[name]).loader
        return loader.get_code(MOVED[name])


def install() -> None:
    """Let Python find the old names; once a process."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
