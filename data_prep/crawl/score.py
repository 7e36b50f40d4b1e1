"""What `data_prep.web` made of a generated crawl, held against the truth that lies beside it.

    python -m data_prep.web score --web_dir runs/tiny/web --truth runs/tiny/world/truth

For each step: how many pages it should take and took, precision and recall with 95 % intervals (Wilson). A page that
an earlier step took is a false alarm of that step and a miss of its own. Then near duplicates by overlap, the text of
the articles, and personal data: found, and numbers that were taken for it. All of it is printed and stands in
`score.json` in the web folder.
"""

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.world.crawl.prose import OTHER, SAME
from eval.cli import UserError, command, existing, parse, read_jsonl

CURE = (
    "give the folder that data_prep.web has written as --web_dir, and the truth/ of the crawl that it read as --truth"
)


@dataclass
class ScoreArguments:
    web_dir: str = field(metadata={"help": "Output folder of data_prep.web."})
    truth: str = field(metadata={"help": "The truth/ folder beside the crawl."})


def share(hits: int, n: int, z: float = 1.96) -> dict:
    """{"hits", "n", "share", "low", "high"}: hits of n with Wilson's 95 % interval; null if n is 0."""
    if not n:
        return {"hits": hits, "n": 0, "share": None, "low": None, "high": None}
    p, scale = hits / n, 1 + z * z / n
    middle, half = (p + z * z / (2 * n)) / scale, z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / scale
    return {"hits": hits, "n": n, "share": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


# ------------------------------------------------------------------------------------------------ text


def _shingles(text: str, n: int = 4) -> Counter:
    words = re.findall(r"\w+", text)
    grams = (tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))
    return Counter(gram for gram in grams if gram)


def article_f1(truth: list[str], found: list[str], resamples: int = 1000) -> dict[str, float]:
    """How well the texts of articles were found, as scrapinghub/article-extraction-benchmark measures it (its
    evaluate.py).

    Precision and recall of an article are those of its multiset of 4-word shingles (words: runs of \\w, case kept);
    the benchmark's are their means over the articles, leaving out the precision of an empty text that was found and
    the recall of a truth that is empty.

    Args:
        truth, found: the texts, article by article.
        resamples: bootstrap samples of articles, for the standard deviations.

    Returns:
        f1 (harmonic mean of the two means), precision, recall, and f1_std, precision_std, recall_std.
    """
    rows = []
    for real, text in zip(truth, found, strict=True):
        a, b = _shingles(real), _shingles(text)
        both = (a & b).total()
        rows.append((both / b.total() if b else np.nan, both / a.total() if a else np.nan))
    pairs = np.array(rows)  # (articles, 2)

    def means(pairs: np.ndarray) -> np.ndarray:
        """(..., articles, 2) -> (..., 3): f1, precision, recall."""
        there = ~np.isnan(pairs)
        both = np.where(there, pairs, 0).sum(-2) / np.maximum(there.sum(-2), 1)
        f1 = 2 * both.prod(-1) / np.maximum(both.sum(-1), 1e-12)
        return np.concatenate([f1[..., None], both], -1)

    names = ("f1", "precision", "recall")
    if not rows:
        return {name + end: float("nan") for name in names for end in ("", "_std")}
    rng = np.random.default_rng(0)
    again = np.array([means(pairs[rng.integers(len(pairs), size=len(pairs))]) for _ in range(resamples)])
    return dict(zip(names, means(pairs).tolist())) | dict(
        zip((f"{name}_std" for name in names), again.std(0, ddof=1).tolist())
    )


def _fate(page: str, document: str, start: int, end: int, width: int = 15) -> bool | None:
    """Whether page[start:end] still stands in the document, judged by the words before or behind it on its line; None
    if these are lost, too."""
    before = page[max(0, start - width) : start].rpartition("\n")[2]
    after = page[end : end + width].partition("\n")[0]
    string = page[start:end]
    if before + string in document or string + after in document:
        return True
    return False if (before.strip() and before in document) or (after.strip() and after in document) else None


def _numbers(page: dict) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of all numbers in a page's text but those of its personal data; "other" are those that the
    truth does not name."""
    text = page["text"]
    taken = []
    for secret in page["pii"]:
        taken += [match.span() for match in re.finditer(re.escape(secret["text"]), text)]
    for number in page["numbers"]:
        for match in re.finditer(rf"(?<!\w){re.escape(number['text'])}(?!\w)", text):
            if all(match.end() <= start or end <= match.start() for start, end in taken):
                taken.append(match.span())
                yield number["kind"], *match.span()
    for match in re.finditer(r"\d(?:[\d.,:/-]*\d)?", text):
        if all(match.end() <= start or end <= match.start() for start, end in taken):
            yield "other", *match.span()


# ------------------------------------------------------------------------------------------------ pages


def _documents(folder: Path) -> Iterator[tuple[str, str]]:
    """(URL, text) of every row; the URL of a broken record may be empty."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    yield row["metadata"]["url"], row.get("text", "")  # datatrove leaves an empty text out
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({type(error).__name__}: {error}): {CURE}") from None


def _steps(pages: dict[str, dict], taken: dict[str, str], pairs: list[dict], steps: tuple[str, ...]) -> list[dict]:
    """A row for each step: step, should, took, precision, recall (see `share`)."""
    near = {url for pair in pairs if OTHER < pair["overlap"] < SAME for url in (pair["a"], pair["b"])}
    rows = []
    for step in steps:
        took = [url for url, by in taken.items() if by == step]
        if step == "dedup":  # of a group all but one must go, whichever
            sizes, gone = (
                Counter(page["group"] for page in pages.values()),
                Counter(pages[url]["group"] for url in took),
            )
            should = sum(size - 1 for size in sizes.values())
            hits = sum(min(count, sizes[group] - 1) for group, count in gone.items())
            either = sum(sizes[pages[url]["group"]] == 1 and url in near for url in took)  # neither right nor wrong
        else:
            should = sum(page["step"] == step for page in pages.values())
            hits, either = sum(pages[url]["step"] == step for url in took), 0
        rows.append(
            {
                "step": step,
                "should": should,
                "took": len(took),
                "precision": share(hits, len(took) - either),
                "recall": share(hits, should),
            }
        )
    return rows


def _near_duplicates(pages: dict[str, dict], taken: dict[str, str], pairs: list[dict]) -> dict:
    """`exact` and `same`: pairs that lost a page to dedup; `between`: the same, where either may happen; `other`:
    pages that share no more than `OTHER` with any page, and were lost to dedup all the same."""
    gone = {url for url, step in taken.items() if step == "dedup"}
    most = defaultdict(float)
    for pair in pairs:
        for url in (pair["a"], pair["b"]):
            most[url] = max(most[url], pair["overlap"])

    def caught(low: float, high: float) -> dict:
        chosen = [pair for pair in pairs if low <= pair["overlap"] < high]
        return share(sum(pair["a"] in gone or pair["b"] in gone for pair in chosen), len(chosen))

    own = [url for url, overlap in most.items() if overlap <= OTHER]
    between = caught(np.nextafter(OTHER, 1), SAME)
    return {
        "exact": caught(1, 2),
        "same": caught(SAME, 1),
        "between": between,
        "other": share(sum(url in gone for url in own), len(own)),
    }


def score(web: Path, truth: Path) -> dict:
    """The whole score of a web folder against a truth folder: steps, near_duplicates, article, pii, numbers (by kind),
    unaccounted (URLs).

    Raises:
        UserError: a folder is missing, unfinished, or of another crawl.
    """
    from data_prep.crawl.arguments import STEPS

    pages = {
        row["url"]: row for row in read_jsonl(truth / "pages.jsonl", ("url", "text", "group", "pii", "numbers"), CURE)
    }
    pairs = read_jsonl(truth / "near_duplicates.jsonl", ("a", "b", "overlap"), CURE)
    existing(web / "funnel.json", "the counts of a finished run,", CURE)
    kept = dict(_documents(web / "documents"))
    rejects = {step: dict(_documents(web / "removed" / step)) for step in STEPS[:-1]}
    taken = {url: step for step, texts in rejects.items() for url in texts if url}
    foreign = sorted((kept.keys() | taken.keys()) - pages.keys())
    if foreign:
        raise UserError(f"{len(foreign)} pages of {web} are not in {truth}, such as {foreign[0]}: {CURE}")
    if not kept.keys() | taken.keys():
        raise UserError(f"{web} holds no page: {CURE}")

    texts = dict(kept)  # of the pages whose text was looked for: what was found
    for step in STEPS[STEPS.index("extraction") :]:
        texts |= {url: "" if step == "extraction" else text for url, text in rejects.get(step, {}).items()}
    articles = [
        url for url, page in pages.items() if url in texts and page["step"] in (None, "dedup") and not page["pii"]
    ]
    article = article_f1([pages[url]["text"] for url in articles], [texts[url] for url in articles]) | {
        "n": len(articles)
    }

    found, alarms = defaultdict(Counter), defaultdict(Counter)
    for url, document in kept.items():
        page = pages[url]
        for secret in page["pii"]:
            start = page["text"].find(secret["text"])
            fate = _fate(page["text"], document, start, start + len(secret["text"]))
            found[secret["kind"]][None if fate is None else secret["text"] not in document] += 1
        if page["step"] is None:
            for kind, start, end in _numbers(page):
                alarms[kind][_fate(page["text"], document, start, end)] += 1
    pii = {kind: share(count[True], count[True] + count[False]) for kind, count in sorted(found.items())}
    numbers = {kind: share(count[False], count[True] + count[False]) for kind, count in sorted(alarms.items())}
    for totals in (pii, numbers):
        totals["all"] = share(sum(row["hits"] for row in totals.values()), sum(row["n"] for row in totals.values()))
    return {
        "steps": _steps(pages, taken, pairs, STEPS[:-1]),
        "near_duplicates": _near_duplicates(pages, taken, pairs),
        "article": article,
        "pii": pii,
        "numbers": numbers,
        "unaccounted": sorted(pages.keys() - kept.keys() - taken.keys()),
    }


def _print(result: dict) -> None:
    def shown(row: dict) -> str:
        return f"{row['share']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" if row["n"] else "-"

    print(f"[score] {'step':<12}{'should':>7}{'took':>7}  {'precision':<24}recall")
    for row in result["steps"]:
        print(
            f"[score] {row['step']:<12}{row['should']:>7}{row['took']:>7} "
            f" {shown(row['precision']):<24}{shown(row['recall'])}"
        )
    near = result["near_duplicates"]
    for name, what in (
        ("exact", "copies found"),
        ("same", f"near duplicates found, overlap from {SAME} on"),
        ("between", "pairs of which one was taken, overlap in between (either is right)"),
        ("other", f"pages lost, overlap up to {OTHER}"),
    ):
        print(f"[score] {what}: {near[name]['hits']} of {near[name]['n']}  {shown(near[name])}")
    article = result["article"]
    print(
        f"[score] text of {article['n']} articles: F1 {article['f1']:.4f} ± {article['f1_std']:.4f}, "
        f"precision {article['precision']:.4f}, recall {article['recall']:.4f}"
    )
    for name, what in (("pii", "personal data found"), ("numbers", "numbers taken for personal data")):
        for kind, row in result[name].items():
            print(f"[score] {what}: {kind:<12}{row['hits']:>6} of {row['n']:<6} {shown(row)}")
    lost = result["unaccounted"]
    print(f"[score] pages that are neither kept nor removed: {len(lost)}" + (f", such as {lost[0]}" if lost else ""))


def run(args: ScoreArguments) -> None:
    web = existing(args.web_dir, "the web folder", CURE)
    result = score(web, existing(args.truth, "the truth folder", CURE))
    _print(result)
    try:
        (web / "score.json").write_text(json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {web / 'score.json'} ({error.strerror}); the figures stand above") from None


@command
def main(argv: list[str] | None = None) -> None:
    run(*parse((ScoreArguments,), argv))


if __name__ == "__main__":
    main()
