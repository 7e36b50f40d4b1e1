"""The stages of `data_prep.web`, which meet through files: filtering, MinHash's three, the documents, the report."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.writers import JsonlWriter

from data_prep.crawl.arguments import WebArguments
from data_prep.crawl.executor import make_executor
from data_prep.crawl.filters import EnglishWords
from data_prep.crawl.funnel import stage_stats, write_funnel, write_report
from data_prep.crawl.pii import PII
from data_prep.crawl.steps import counted, page_steps
from data_prep.crawl.warc import TolerantWarcReader
from eval.cli import UserError

SETTINGS = "settings.json"


class Stages:
    """Runs one stage after the other.

    Attributes:
        output: the folder of the whole.
        before: the executor of the stage before, for Slurm's queue.
    """

    def __init__(self, args: WebArguments, output: Path):
        self.args, self.output, self.before = args, output, None

    def run(self, stage: str, pipeline: list[PipelineStep | Callable], tasks: int) -> None:
        """Do those tasks of a stage that have not finished, or put them into Slurm's queue."""
        args, logs = self.args, self.output / "logs" / stage
        executor = make_executor(
            args.executor, args.executor_options, pipeline, tasks, args.workers, logs, self.before
        )
        self.before = executor
        todo, started = len(executor.get_incomplete_ranks()), time.time()
        if todo or args.executor == "slurm":
            executor.run()
        if args.executor == "slurm":
            state = f"queued as job {executor.job_id}" if todo else "finished before"
            print(f"[web] {stage}: {todo} of {tasks} tasks {state}", flush=True)
            return
        stats = stage_stats(self.output, stage)
        left = f", {stats[-1]['documents']:,} documents left" if stats else ""
        done = f"{todo} of {tasks} tasks in {time.time() - started:.1f} s" if todo else "finished before"
        print(f"[web] {stage}: {done}{left}", flush=True)


def run_stages(args: WebArguments, files: int) -> None:
    """Filter, then MinHash in datatrove's four stages, the last of which writes the documents, then the funnel and the
    data card."""
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import ParquetWriter

    output = Path(args.output_dir).resolve()  # workers elsewhere have another working directory
    filtered, removed = output / "work" / "filtered", output / "removed"
    tasks = min(args.tasks, files)
    stages = Stages(args, output)
    stages.run("filtering", filtering(args, removed, filtered), tasks)
    if args.executor != "slurm" and not any(filtered.glob("*.jsonl.gz")):
        write_funnel(output)
        raise UserError(
            f"no page of {args.input_dir} is left after the filters: see {output}/funnel.json and {removed} for what"
            " took them"
        )
    pipeline = [JsonlReader(str(filtered))]
    if "dedup" in args.steps:
        pipeline += deduplication(stages, filtered, removed, tasks)
    if "pii" in args.steps:
        kinds = ("emails", "ips", "phones", "ssns", "cards", "ibans")
        remove = {f"remove_{kind}": getattr(args, f"remove_{kind}") for kind in kinds}
        pipeline += [PII(**remove, phone_regions=args.phone_regions), *counted("pii", args)]
    pipeline += [JsonlWriter(str(output / "documents")), ParquetWriter(str(output / "parquet"))]
    stages.run("documents", pipeline, tasks)
    settings = json.loads((output / SETTINGS).read_text())
    report = partial(write_report, output=output, settings=settings)
    if args.executor == "slurm":
        stages.run("report", [report], 1)
    else:
        report()


def filtering(args: WebArguments, removed: Path, filtered: Path) -> list[PipelineStep]:
    """From WARC files to the pages that pass every filter."""
    reader = TolerantWarcReader(str(Path(args.input_dir).resolve()), JsonlWriter(str(removed / "warc")))
    pipeline = [reader, *counted("warc", args)]
    for name, step in page_steps(args, removed).items():
        if name in args.steps:
            pipeline += [step, *counted(name, args)]
    return [*pipeline, JsonlWriter(str(filtered))]


def deduplication(stages: Stages, filtered: Path, removed: Path, tasks: int) -> list[PipelineStep]:
    """Find the near duplicates by MinHash. Returns the steps that take them from the filtered documents."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.hashing import HashConfig

    args = stages.args
    config = MinhashConfig(
        n_grams=args.minhash_n_grams,
        num_buckets=args.minhash_buckets,
        hashes_per_bucket=args.minhash_hashes_per_bucket,
        seed=args.minhash_seed,
        hash_config=HashConfig(precision=64, hash_fc="sha1"),  # as FineWeb
    )
    signatures, buckets, clusters = (str(filtered.with_name(name)) for name in ("signatures", "buckets", "clusters"))
    sign = MinhashDedupSignature(signatures, config, language=EnglishWords())
    stages.run("signatures", [JsonlReader(str(filtered)), sign], tasks)
    match = MinhashDedupBuckets(signatures, buckets, config=config)
    stages.run("buckets", [match], config.num_buckets)  # more tasks need >= 50 documents each
    stages.run("clusters", [MinhashDedupCluster(buckets, clusters, config=config)], 1)
    take = MinhashDedupFilter(clusters, exclusion_writer=JsonlWriter(str(removed / "dedup")))
    return [take, *counted("dedup", args)]
