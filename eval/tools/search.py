r"""The tool `search`: the best passages for a question, from an index over documents or from elsewhere.

    python -m eval.tools.search --documents runs/tiny/web/documents runs/tiny/world/library --output_dir \
        runs/tiny/index
    python -m eval.tools.search --index runs/tiny/index --query "In which town does Viggo Lindqvist live?"

Documents are datatrove's JSON lines (`id`, `text`, `metadata`), as `data_prep.web` writes them: folders with *.jsonl
or *.jsonl.gz. Their paragraphs are joined to passages of at most `--passage_words` words; `--count` and `--max_tokens`
say how many of them a search in this index returns, and `--match` which may be among them:

    any      the best for the words of the query (the default)
    named    these, but nothing where the query holds a name that is in no passage: an invented person is not found
    all      only passages that hold every word of the query

In code:

    Search("runs/tiny/index").search("Viggo Lindqvist town")     # a folder
    Search("https://search.example.org/passages", max_tokens=200) # an endpoint
    Search(lambda query, count: [{"title": ..., "text": ...}])   # any function

The index is BM25 by bm25s, its files mapped into memory. It was measured against FTS5 of SQLite (porter stemmer, words
joined by OR) with the 216 questions on known facts of a tiny world (seed 0, 16 pages a person: 653 documents, 1,939
passages of at most 150 words); found means that a sentence of the passage states the fact:

                                                  recall@1   recall@3   a query    index
    bm25s                                          0.912      1.000     0.12 ms    0.2 s
    bm25s, words of questions left out (chosen)    0.986      1.000     0.1  ms    0.2 s
    FTS5                                           0.940      1.000     3.3  ms    0.04 s
    FTS5, words of questions left out              0.977      1.000     1.6  ms    0.04 s

(a stemmer adds nothing to bm25s: 0.981). Passages of 100 words give 0.954 and 1.000, of 60 words 0.856 and 1.000 with
bm25s. FTS5 reads every passage that has one of the words, so its queries grow with the index; bm25s adds up columns of
scores that are ready.
"""

import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from eval.cli import UserError, command, existing, output_folder, parse
from eval.shared.documents import documents
from eval.tools import as_result

PASSAGE_WORDS = 150
COUNT, MAX_TOKENS = 3, 300  # passages, and tokens in all, of a result
MATCHES = ("any", "named", "all")
MAX_QUERY = 1000  # characters
TIMEOUT = 10  # seconds for an endpoint
MAX_BYTES = 2**20  # of its answer
INFO = "search.json"
WITHOUT = "build it with `python -m eval.tools.search --documents FOLDER --output_dir FOLDER`"
# What questions are made of, besides bm25s' English stop words: "Do you know where X lives?" asks for X and lives.
QUESTION_WORDS = """about am asks can could did do does from had has have he her him his how i its know let like many
    me much my our please say she so some tell than them us want was we were what when where which who whom whose why
    would you your""".split()


def passages(document: dict, most: int = PASSAGE_WORDS) -> Iterator[dict]:
    """`title`, `text` and `id` of each passage: whole paragraphs up to `most` words; a longer one is cut between
    words.

    The title is the metadata's `title`, else a first line of at most 12 words, else the metadata's `url`, else the id.
    """
    metadata = document.get("metadata") or {}
    paragraphs = [words for line in document["text"].splitlines() if (words := line.split())]
    title = str(metadata.get("title") or "").strip()
    if not title and len(paragraphs) > 1 and len(paragraphs[0]) <= 12:
        title = " ".join(paragraphs.pop(0))
    title = title or str(metadata.get("url") or document.get("id") or "")
    current = []
    for words in paragraphs:
        for part in (words[at : at + most] for at in range(0, len(words), most)):
            if current and len(current) + len(part) > most:
                yield {"title": title, "text": " ".join(current), "id": document.get("id")}
                current = []
            current = current + part
    if current:
        yield {"title": title, "text": " ".join(current), "id": document.get("id")}


def _words(texts: list[str], **options):
    """The terms of texts as bm25s counts them: words in lower case without those that every question has."""
    import bm25s
    from bm25s.stopwords import STOPWORDS_EN

    return bm25s.tokenize(texts, stopwords=[*STOPWORDS_EN, *QUESTION_WORDS], show_progress=False, **options)


def build(
    folders: list[str | os.PathLike],
    output_dir: str | os.PathLike,
    passage_words: int = PASSAGE_WORDS,
    count: int = COUNT,
    max_tokens: int = MAX_TOKENS,
    match: str = "any",
) -> int:
    """Write the index over folders of documents; the number of passages. All passages are in memory meanwhile.

    Args:
        count, max_tokens: what `Search` takes with this index where it is not told otherwise.
        match: one of `MATCHES` (see the module's docstring); words that every question has do not count for `all`,
            and `names_in` says what a name is.

    Raises:
        UserError: the documents cannot be read, or there is no text in them; the output cannot be written.
    """
    import bm25s

    if min(passage_words, count, max_tokens) < 1:
        raise UserError(
            f"passage_words, count and max_tokens must be at least 1, but are {passage_words}, {count} and"
            f" {max_tokens}"
        )
    if match not in MATCHES:
        raise UserError(f"match must be any, named or all, but is {match}")
    read, collected = 0, []
    for document in itertools.chain.from_iterable(map(documents, folders)):
        read += 1
        collected += passages(document, passage_words)
    terms = _words([f"{p['title']} {p['text']}" for p in collected])
    if not any(terms.ids):
        raise UserError(f"{' '.join(map(str, folders))}: there is no text in these documents")
    out = output_folder(output_dir)
    (out / INFO).unlink(missing_ok=True)  # written last: what has it is whole
    (out / "corpus.mmindex.json").unlink(missing_ok=True)
    index = bm25s.BM25()
    index.index(terms, show_progress=False)
    index.save(out, corpus=collected, show_progress=False)
    info = {
        "documents": read,
        "passages": len(collected),
        "passage_words": passage_words,
        "count": count,
        "max_tokens": max_tokens,
        "match": match,
    }
    info |= {"sources": [str(folder) for folder in folders], "bm25s": bm25s.__version__}
    (out / INFO).write_text(json.dumps(info) + "\n")
    return len(collected)


def names_in(query: str) -> set[str]:
    """The words of a query that are names, in lower case: those with a capital, without the query's first word (which
    always has one) and without `QUESTION_WORDS`."""
    _, *others = re.findall(r"\w+", query) or [""]
    capitals = {word.lower() for word in others if word[0].isupper()}
    return capitals.intersection(_words([query], return_ids=False)[0])


class _Index:
    """`(query, count) -> passages` over a folder that `build` wrote."""

    def __init__(self, folder: str | os.PathLike):
        import bm25s

        info = existing(folder, "index", WITHOUT) / INFO
        if not info.is_file():
            raise UserError(f"{folder} is no index, or its building did not end: {WITHOUT}")
        try:
            self.info = json.loads(info.read_text())
            self.size, match = self.info["passages"], self.info.get("match")
            self.all_words, self.named = match == "all", match == "named"
            self.bm25 = bm25s.BM25.load(folder, mmap=True, load_corpus=True, show_progress=False)
            if self.bm25.corpus is None or len(self.bm25.corpus) != self.size:
                raise ValueError("passages are missing")
        except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"the index {folder} cannot be read ({error}): {WITHOUT}") from None
        self.lock = threading.Lock()  # the passages are read from one file

    def __call__(self, query: str, count: int) -> list[dict]:
        words = list(dict.fromkeys(_words([query], return_ids=False)[0]))
        known = [word for word in words if word in self.bm25.vocab_dict]
        if not known or (self.all_words and len(known) < len(words)):
            return []
        if self.named and not names_in(query) <= self.bm25.vocab_dict.keys():
            return []
        import numpy as np

        at = [self.bm25.get_scores([word]) > 0 for word in known] if self.all_words else []
        with self.lock:
            mask = np.logical_and.reduce(at) if at else None
            places, scores = self.bm25.retrieve(
                [known], k=min(count, self.size), show_progress=False, weight_mask=mask
            )
        return [passage for passage, score in zip(places[0], scores[0]) if score > 0]


def _endpoint(url: str) -> Callable[[str, int], list[dict]]:
    """POST {"query", "count"} -> a JSON list of {"title", "text"}, or {"results": that list}."""
    import requests

    def ask(query: str, count: int) -> list[dict]:
        with requests.post(url, json={"query": query, "count": count}, timeout=TIMEOUT, stream=True) as response:
            response.raise_for_status()
            body = bytearray()
            for chunk in response.iter_content(65536):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"the answer has more than {MAX_BYTES} bytes")
        answer = json.loads(body)
        return answer["results"] if isinstance(answer, dict) else answer

    return ask


class Search:
    """A source of passages with a budget; `Search(...).search` is the tool.

    Args:
        source: a folder that `build` wrote, the URL of an endpoint, or a function `(query, count) -> [{"title",
            "text"}, ...]`.
        count: passages to ask for (default: the index's, else 3).
        max_tokens: of the whole result, counted by the tokenizer, else in words (default: the index's, else 300).
        tokenizer: any with `tokenizer(text, add_special_tokens=False)["input_ids"]`.

    Raises:
        UserError: there is no such index.
    """

    def __init__(
        self,
        source: str | os.PathLike | Callable[[str, int], list[dict]],
        count: int | None = None,
        max_tokens: int | None = None,
        tokenizer=None,
    ):
        if callable(source):
            self.source = source
        else:
            self.source = _endpoint(str(source)) if re.match(r"https?://", str(source)) else _Index(source)
        own = getattr(self.source, "info", {})
        self.count = own.get("count", COUNT) if count is None else count
        self.max_tokens = own.get("max_tokens", MAX_TOKENS) if max_tokens is None else max_tokens
        self.tokenizer = tokenizer
        if self.count < 1 or self.max_tokens < 1:
            raise UserError(f"count and max_tokens must be at least 1, but are {count} and {max_tokens}")

    def search(self, query: str) -> str:
        """Finds text that answers a question.

        Args:
            query: The words to look for, for example: who is Viggo Lindqvist

        Returns:
            The best passages, each under its title.
        """
        try:
            pages = [
                (str(p.get("title") or ""), str(p["text"])) for p in self.source(str(query)[:MAX_QUERY], self.count)
            ][: self.count]
        except Exception as error:  # whatever a remote source does
            return self._cut(as_result(f"Error: the search failed: {type(error).__name__}: {error}", 500))
        return self._cut(
            "\n\n".join(as_result(f"{title}\n{text}".strip(), MAX_BYTES) for title, text in pages) or "Nothing found."
        )

    __call__ = search

    def tokens(self, text: str) -> int:
        return (
            len(text.split())
            if self.tokenizer is None
            else len(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        )

    def _cut(self, text: str) -> str:
        """The longest beginning, in whole words, that keeps the budget."""
        if self.tokenizer is not None:
            text = text[: 20 * self.max_tokens]  # no token is longer on average, and a page can be endless
        if self.tokens(text) <= self.max_tokens:
            return text
        ends = [match.end() for match in re.finditer(r"\S+", text)]
        low, high = 0, min(len(ends), self.max_tokens)  # a word is at least a token
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high) if self.tokens(text[: ends[middle - 1]]) <= self.max_tokens else (low, middle - 1)
            )
        return text[: ends[low - 1]] if low else ""


@dataclass
class SearchArguments:
    documents: list[str] = field(
        default_factory=list, metadata={"help": "folders of *.jsonl(.gz) with id, text, metadata"}
    )
    output_dir: str | None = field(default=None, metadata={"help": "folder for the index"})
    passage_words: int = field(default=PASSAGE_WORDS, metadata={"help": "words of a passage"})
    match: str = field(
        default="any",
        metadata={
            "help": "all: a passage must hold every word of the query; any: the best ones; named: nothing where the"
            " query names what no passage does"
        },
    )
    index: str | None = field(default=None, metadata={"help": "an index (or the URL of an endpoint) to ask"})
    query: str | None = field(default=None, metadata={"help": "what to ask it"})
    count: int | None = field(
        default=None, metadata={"help": f"passages of a result (default: {COUNT}, or the index's)"}
    )
    max_tokens: int | None = field(
        default=None, metadata={"help": f"words of a result (default: {MAX_TOKENS}, or the index's)"}
    )


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((SearchArguments,), argv)
    if (args.query or args.index) and (
        args.documents or args.output_dir or (args.passage_words, args.match) != (PASSAGE_WORDS, "any")
    ):
        raise UserError(
            "documents, output_dir, passage_words and match are for building an index, index and query for asking one:"
            " give the one or the other"
        )
    if args.query and args.index:
        print(Search(args.index, args.count, args.max_tokens).search(args.query))
    elif args.documents and args.output_dir:
        count = COUNT if args.count is None else args.count
        max_tokens = MAX_TOKENS if args.max_tokens is None else args.max_tokens
        passages = build(args.documents, args.output_dir, args.passage_words, count, max_tokens, args.match)
        print(f"{args.output_dir}: {passages} passages")
    else:
        raise UserError("give --documents and --output_dir to build an index, or --index and --query to ask one")


if __name__ == "__main__":
    main()
