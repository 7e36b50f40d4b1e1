"""Does a training set hold what an evaluation set asks? A verdict for each set, and training sets without the rows
that do.

    python -m data_prep.decontaminate --output runs/tiny/decontaminate/verdict.json --eval runs/tiny/world/eval \
        --expected facts_known \
        --train runs/tiny/web/documents runs/tiny/world/textbooks runs/tiny/world/conversations/train.jsonl
        runs/tiny/world/problems/train.jsonl
    python -m data_prep.decontaminate --output runs/gsm8k/verdict.json --train runs/gsm8k/train.jsonl --remove_to \
        runs/gsm8k/clean \
        --eval '{"path": "openai/gsm8k", "name": "main", "split": "test"}'

`--train` and `--eval` take files (`*.jsonl`, `*.jsonl.gz`, `*.parquet`), globs, folders of them, Hub ids, and sources
of `data_prep.shared.sources` as JSON. Words are lowercased, without punctuation; a number is a word (GPT-3: Brown et
al. 2020, appendix C). The n-grams of an item are those of its question, and of its answer where that has n words: 13
words each, 8 where there are fewer than 13, all where there are fewer than 8.

`--rule coverage` (the default): an item is contaminated where one training row holds `threshold` of its n-grams (the
share of n-grams: PaLM, Chowdhery et al. 2022; in one training document: Tülu 3, Lambert et al. 2024,
decontamination/search.py). `--rule any`: where a single n-gram occurs (GPT-3; open-r1 with n 8). Questions of one
template share n-grams whatever their numbers, so `any` would condemn each of them, while coverage by one row finds
copies; both counts stand in the verdict. A set is contaminated where more than `tolerance` of its items are.
datatrove's decontamination (pipeline.decont) knows only `any`, and needs lighteval. A killed run resumes after the
files that it had read.
"""

import contextlib
import gzip
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data_prep.shared.dataset_rows import (
    ANSWERS,
    QUESTIONS,
    TRAINING,
    Part,
    columns_of,
    find_parts,
    read_rows,
    text_of,
)
from data_prep.shared.ngrams import WORD, Index, words
from data_prep.shared.progress import end_with_parent
from eval.cli import UserError, command, output_folder, parse, write_json

RULES = {
    "coverage": "an item is contaminated where one training row holds at least {threshold:.0%} of its n-grams",
    "any": "an item is contaminated where any of its n-grams occurs in the training data",
}
EXAMPLES, SHOWN = 3, 300  # worst items of a set, characters of a text


@dataclass
class DecontaminateArguments:
    train: list[str] = field(metadata={"help": "training sets: files, globs, folders, Hub ids, or sources as JSON"})
    eval: list[str] = field(metadata={"help": "evaluation sets, in the same forms; each file is a set of its own"})
    output: str = field(metadata={"help": "JSON file for the verdict"})
    expected: list[str] = field(
        default_factory=list,
        metadata={"help": "evaluation sets that are meant to be in the training data: counted, but no contamination"},
    )
    rule: str = field(
        default="coverage",
        metadata={"help": "coverage (n-grams of an item in one training row) or any (a single n-gram)"},
    )
    threshold: float = field(
        default=0.8, metadata={"help": "share of an item's n-grams at which the rule coverage calls it contaminated"}
    )
    tolerance: float = field(default=0.0, metadata={"help": "share of contaminated items up to which a set is clean"})
    n: int = field(default=13, metadata={"help": "words of an n-gram"})
    short_n: int = field(default=8, metadata={"help": "words of an n-gram where an item has fewer than n"})
    remove_to: str | None = field(
        default=None, metadata={"help": "folder for the training sets without the rows that contaminate"}
    )
    workers: int = field(default=1, metadata={"help": "processes, each reads a file at a time"})


@dataclass
class Item:
    """A question and the pieces of the index that it and its answer are."""

    question: str
    pieces: list[int]


def read_items(part: Part, index: Index) -> list[Item]:
    """The items of an evaluation set, added to the index; a `UserError` where none has two words."""
    items = []
    for number, _, row in read_rows(part):
        where = f"{part.path}, row {number}"
        question = text_of(row[columns_of(row, QUESTIONS, where)[0]], "user")
        answer = next(
            (text_of(row[column]) for column in ANSWERS if row.get(column) is not None),
            text_of(row.get("messages"), "assistant"),
        )
        answer_words = words(answer)
        pieces = [index.add(words(question)), index.add(answer_words) if len(answer_words) >= index.n else None]
        items.append(Item(question, [piece for piece in pieces if piece is not None]))
    if not any(item.pieces for item in items):
        raise UserError(f"evaluation set {part.path} is empty: expected at least one item of two words")
    return items


def set_names(parts: list[Part]) -> list[str]:
    """The name of each set: its file's; with the folder's where files are called `test` and the like, or two are
    called the same."""
    names = [
        Path(part.path).name.split(".")[0] if not part.spec or Path(part.path).is_file() else part.source
        for part in parts
    ]
    plain = [name in ("train", "validation", "test") or names.count(name) > 1 for name in names]
    return [
        f"{Path(part.path).parent.name}/{name}" if short and not part.spec else name
        for part, name, short in zip(parts, names, plain)
    ]


# ---- Training sets against them ----


@dataclass
class Scan:
    """Reads parts of the training data for the n-grams of `index`.

    Attributes:
        watched: pieces whose rows are to be removed: all but those of the expected sets.
        least: share of a piece's n-grams at which a row contaminates it.
    """

    index: Index
    watched: set[int]
    least: float

    def __call__(self, part: Part, clean: Path | None) -> dict:
        """Read a part; write the rows that contaminate nothing to `clean`.

        Returns:
            {"rows", "contaminating" rows, "found" n-grams, "best": [[piece, [share, row, text]], ...], "sha256" of the
            file}
        """
        best, grams, rows, contaminating = {}, set(), part.start, 0
        temporary = clean.with_name(f".part-{clean.name}") if clean else os.devnull
        if clean:
            clean.parent.mkdir(parents=True, exist_ok=True)
        with (
            gzip.GzipFile(temporary, "wb", mtime=0) if str(temporary).endswith(".gz") else open(temporary, "wb")
        ) as out:
            for rows, line, row in read_rows(part):
                text = "\n".join(
                    text_of(row[column]) for column in columns_of(row, TRAINING, f"{part.path}, row {rows}")
                )
                hits = self.index.find(words(text))
                grams.update(hits)
                shares = self.index.shares(hits)
                for piece, share in shares.items():
                    if share > best.get(piece, (0,))[0]:
                        best[piece] = [share, rows, self.excerpt(text, hits, piece)]
                if any(share >= self.least and piece in self.watched for piece, share in shares.items()):
                    contaminating += 1
                else:
                    out.write(line)
        if clean:
            os.replace(temporary, clean)
        counts = {"rows": rows - part.start, "contaminating": contaminating, "sha256": part.digest()}
        return {**counts, "found": sorted(grams), "best": sorted(best.items())}

    def excerpt(self, text: str, hits: dict[int, int], piece: int) -> str:
        first = min(hits[gram] for gram in self.index.pieces[piece] if gram in hits)
        at = next(itertools.islice(WORD.finditer(text), first, None)).start()
        return text[at : at + SHOWN]


_scan: Scan  # of a worker process


def _start(scan: Scan) -> None:
    global _scan
    _scan = scan
    end_with_parent(multiprocessing.parent_process())


def _run(part: Part, clean: Path | None) -> dict:
    return _scan(part, clean)


def clean_path(part: Part, root: str, folder: Path) -> Path:
    """Where the rest of a part is written: as it lies below `root`; a `UserError` where that is the part itself."""
    if part.spec:
        name = Path(part.path).name if Path(part.path).exists() else part.path
        return folder / name / f"{part.start:09d}.jsonl"
    clean = folder / os.path.relpath(part.path, root)
    if clean.exists() and clean.samefile(part.path):
        raise UserError(f"remove_to {folder} is where the training set {part.path} lies: choose another folder")
    return clean


def scan_all(scan: Scan, jobs: list[tuple[Part, Path | None]], work: Path, workers: int) -> list[dict]:
    """The results of all parts; those of a killed run are in `work`."""
    files = [work / f"{i}.json" for i in range(len(jobs))]
    todo = [i for i, (_, clean) in enumerate(jobs) if not files[i].exists() or (clean and not clean.exists())]
    if len(todo) < len(jobs):
        print(f"[decontaminate] {len(jobs) - len(todo)} of {len(jobs)} files were read before", flush=True)
    with contextlib.ExitStack() as stack:
        call = (scan(*jobs[i]) for i in todo)
        if workers > 1 and len(todo) > 1:
            pool = stack.enter_context(ProcessPoolExecutor(workers, initializer=_start, initargs=(scan,)))
            call = pool.map(_run, *zip(*(jobs[i] for i in todo)))
        for i, result in zip(todo, call):
            part = files[i].with_suffix(".part")
            part.write_text(json.dumps(result))
            os.replace(part, files[i])
    return [json.loads(file.read_text()) for file in files]


# ---- The verdict ----


def share_of(grams: set, piece) -> float:
    """The share of a piece's n-grams that occur anywhere in the training data."""
    return sum(gram in grams for gram in piece) / len(piece)


def judge(
    name: str, items: list[Item], args: DecontaminateArguments, index: Index, parts: list[Part], results: list[dict]
) -> dict:
    """The verdict of one evaluation set, with its counts and its worst items."""
    grams = set().union(*(result["found"] for result in results))
    best = [dict(result["best"]) for result in results]
    least = args.threshold if args.rule == "coverage" else 0.0
    counts, sources, worst = Counter(), Counter(), []
    judged = [item for item in items if item.pieces]
    for item in judged:
        spread = max(share_of(grams, index.pieces[piece]) for piece in item.pieces)
        hits = [(*rows[piece], i) for i, rows in enumerate(best) for piece in item.pieces if piece in rows]
        share, row, text, i = max(hits, key=lambda hit: (hit[0], -hit[3]), default=(0.0, None, None, None))
        counts.update(
            any=bool(hits),
            covered=spread >= args.threshold,
            whole=share == 1,
            contaminated=bool(hits) and share >= least,
        )
        sources.update({parts[hit[3]].source for hit in hits if hit[0] >= least})
        if hits:
            worst.append(
                {
                    "question": item.question[:SHOWN],
                    "share": round(share, 3),
                    "file": parts[i].path,
                    "row": row,
                    "text": text,
                }
            )
    contaminated = counts["contaminated"] > args.tolerance * len(judged)
    return {
        "verdict": "expected" if name in args.expected else "contaminated" if contaminated else "clean",
        "items": len(judged),
        "too_short": len(items) - len(judged),
        **{key: counts[key] for key in ("contaminated", "whole", "covered", "any")},
        "sources": dict(sources.most_common()),
        "worst": sorted(worst, key=lambda row: -row["share"])[:EXAMPLES],
    }


def check(args: DecontaminateArguments) -> None:
    if args.rule not in RULES:
        raise UserError(f"rule must be one of {', '.join(RULES)}, but is {args.rule}")
    if not 2 <= args.short_n <= args.n:
        raise UserError(
            f"n and short_n must be at least 2, and short_n at most n, but are {args.n} and {args.short_n}"
        )
    if not (0 < args.threshold <= 1 and 0 <= args.tolerance < 1):
        raise UserError(
            f"threshold must lie above 0 and at most at 1, tolerance from 0 to below 1, but they are {args.threshold}"
            f" and {args.tolerance}"
        )
    if args.workers < 1:
        raise UserError(f"workers must be at least 1, but is {args.workers}")
    if not args.train or not args.eval:
        raise UserError("train and eval need at least one set each")
    if Path(args.output).is_dir():
        raise UserError(
            f"output {args.output} is a folder: give a file, such as {args.output.rstrip('/')}/verdict.json"
        )


def started(work: Path, args: DecontaminateArguments, parts: list[Part], index: Index) -> None:
    """Empty the folder of a killed run, unless it was after the same: settings, n-grams, and training files by size
    and time."""
    settings = {key: value for key, value in asdict(args).items() if key not in ("workers", "output", "tolerance")}
    files = [asdict(part) if part.spec else _file_state(part) for part in parts]
    same = hashlib.sha256(json.dumps([settings, files, list(index.grams)]).encode()).hexdigest()
    if not (work / "settings").exists() or (work / "settings").read_text() != same:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (work / "settings").write_text(same)


def _file_state(part: Part) -> list:
    stat = os.stat(part.path)
    return [part.path, part.start, stat.st_size, stat.st_mtime_ns]


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((DecontaminateArguments,), argv)
    check(args)
    eval_parts, parts = find_parts(args.eval, most=sys.maxsize), find_parts(args.train)
    index = Index(args.n, args.short_n)
    sets = read_sets(eval_parts, args.expected, index)
    output = Path(args.output)
    output_folder(output.parent)
    jobs = jobs_of(parts, args.remove_to)
    work = output.with_name(f"{output.name}.work")
    started(work, args, parts, index)

    # ---- Read the training data, judge ----
    watched: set[int] = set()
    for name, items in sets.items():
        if name not in args.expected:
            watched.update(piece for item in items for piece in item.pieces)
    scan = Scan(index, watched, args.threshold if args.rule == "coverage" else 0.0)
    results = scan_all(scan, jobs, work, args.workers)
    if not sum(result["rows"] for result in results):
        raise UserError(f"the training data ({', '.join(map(str, args.train))}) are empty: expected at least one row")
    verdicts = {}
    for (name, items), part in zip(sets.items(), eval_parts):
        verdict = judge(name, items, args, index, parts, results)
        verdicts[name] = {"path": part.path, "sha256": part.digest(), **verdict}
    record = record_of(args, verdicts, parts, results)
    write_json(output, record, indent=1)
    shutil.rmtree(work)
    show(record, args)


def read_sets(parts: list[Part], expected: list[str], index: Index) -> dict[str, list[Item]]:
    """The items of each evaluation set, by its name; a `UserError` for names that are not clear."""
    names = set_names(parts)
    twice = sorted(name for name in names if names.count(name) > 1)
    if twice:
        raise UserError(f"two evaluation sets have one name: {', '.join(twice)}; give each once")
    unknown = set(expected) - set(names)
    if unknown:
        raise UserError(
            f"expected names no evaluation set: {', '.join(sorted(unknown))}; the sets are {', '.join(names)}"
        )
    return {name: read_items(part, index) for name, part in zip(names, parts)}


def jobs_of(parts: list[Part], remove_to: str | None) -> list[tuple[Part, Path | None]]:
    """What is read, and where the rows that contaminate nothing are written."""
    if not remove_to:
        return [(part, None) for part in parts]
    folders = [os.path.dirname(os.path.abspath(part.path)) for part in parts if not part.spec]
    root = os.path.commonpath(folders or ["/"])
    return [(part, clean_path(part, root, output_folder(remove_to))) for part in parts]


def record_of(args: DecontaminateArguments, verdicts: dict[str, dict], parts: list[Part], results: list[dict]) -> dict:
    """What is written: the verdict on all sets, the rule, and what was read."""
    contaminated = any(verdict["verdict"] == "contaminated" for verdict in verdicts.values())
    rule = RULES[args.rule].format(threshold=args.threshold)
    keys = ("rule", "threshold", "tolerance", "n", "short_n", "expected", "remove_to")
    files = []
    for part, result in zip(parts, results):
        counts = {key: result[key] for key in ("rows", "contaminating", "sha256")}
        files.append({"source": part.source, "path": part.path, **counts})
    return {
        "verdict": "contaminated" if contaminated else "clean",
        "rule": f"{rule}; a set where more than {args.tolerance:.0%} of the items are",
        "settings": {key: getattr(args, key) for key in keys},
        "eval": verdicts,
        "train": files,
    }


def show(record: dict, args: DecontaminateArguments) -> None:
    width = max(map(len, record["eval"]))
    for name, verdict in record["eval"].items():
        print(
            f"{name:<{width}} {verdict['verdict']:<12} of {verdict['items']:,} items {verdict['contaminated']:,}"
            f" contaminated, {verdict['whole']:,} whole, {verdict['any']:,} share an n-gram"
        )
    if args.remove_to:
        removed = sum(file["contaminating"] for file in record["train"])
        rows = sum(file["rows"] for file in record["train"])
        print(f"{args.remove_to}: {removed:,} of {rows:,} training rows left out")
    bad = [name for name, verdict in record["eval"].items() if verdict["verdict"] == "contaminated"]
    print(f"{Path(args.output)}: " + (f"contaminated: {', '.join(bad)}" if bad else "clean"))


if __name__ == "__main__":
    main()
