"""The tiny crawl through FineWeb's recipe: who survives, what takes the others, and what a broken record costs."""

import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from data_prep import filters, warc, web
from data_prep.world.crawl import Article, prose, write_crawl

ROOT = Path(__file__).resolve().parents[1]


def articles(count: int) -> list[Article]:
    rng = random.Random(7)
    return [Article(f"Story {i}", prose(rng, rng.randint(4, 8)), f"story-{i}") for i in range(count)]


def rows(path: Path) -> list[dict]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def documents(output: Path, folder: str = "documents") -> list[dict]:
    return [row for path in sorted((output / folder).glob("*.jsonl.gz")) for row in rows(path)]


def shingles(text: str) -> Counter:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[i : i + 4]) for i in range(len(words) - 3))


def f1(text: str, truth: str) -> float:
    a, b = shingles(text), shingles(truth)
    return 2 * sum((a & b).values()) / (sum(a.values()) + sum(b.values()))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A crawl of 40 articles and its documents."""
    folder = tmp_path_factory.mktemp("world")
    write_crawl(articles(40), folder, seed=3)
    web.main(["--input_dir", str(folder / "warc"), "--output_dir", str(folder / "web")])
    return folder


def test_one_seed_gives_the_same_bytes(tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_crawl(articles(20), tmp_path / folder, seed=seed)
    files = {f: [p.read_bytes() for p in sorted((tmp_path / f).rglob("*.*"))] for f in "abc"}
    assert files["a"] == files["b"] and files["a"] != files["c"]


def test_most_pages_are_good(tmp_path):
    write_crawl(articles(400), tmp_path, seed=0, files=3)
    truth = rows(tmp_path / "truth" / "pages.jsonl")
    assert 0.78 < sum(row["keep"] for row in truth) / len(truth) < 0.82
    assert {row["step"] for row in truth} == {None, *web.STEPS} - {"pii"}
    assert len({row["url"] for row in truth}) == len(truth) and len(list((tmp_path / "warc").iterdir())) == 3


def test_every_step_takes_its_pages(world):
    truth = {row["url"]: row for row in rows(world / "truth" / "pages.jsonl")}
    kept = {row["metadata"]["url"]: row for row in documents(world / "web")}
    taken = {row["metadata"]["url"]: step for step in web.STEPS for row in documents(world / "web", f"removed/{step}")}
    assert taken.keys() | kept.keys() == truth.keys()
    wrong = [
        (url, row["step"], taken.get(url)) for url, row in truth.items()
        if row["step"] != taken.get(url) and "dedup" not in (row["step"], taken.get(url))
    ]  # fmt: skip
    assert len(wrong) <= 1, wrong  # Trafilatura may misjudge a page
    # of a group of duplicates one page stays, whichever
    groups = Counter(truth[url]["group"] for url in kept)
    assert max(groups.values()) == 1
    assert len({row["group"] for row in truth.values() if row["keep"]} - groups.keys()) <= 1


def test_documents_are_the_articles(world):
    truth = {row["url"]: row for row in rows(world / "truth" / "pages.jsonl")}
    scores = []
    for row in documents(world / "web"):
        page = truth[row["metadata"]["url"]]
        assert row["id"] and row["metadata"]["date"].startswith("2025-")
        for secret in page["pii"]:
            assert secret["text"] not in row["text"]
        if not page["pii"]:
            scores.append(f1(row["text"], page["text"]))
    assert sum(scores) / len(scores) > 0.98 and min(scores) > 0.9
    assert any(page["pii"] for page in truth.values()) and any("café" in page["text"] for page in truth.values())


def test_the_funnel_adds_up(world):
    steps = json.loads((world / "web" / "funnel.json").read_text())["steps"]
    assert [step["step"] for step in steps] == list(web.STEPS)
    for before, step in zip(steps, steps[1:]):
        assert step["documents"] == before["documents"] - sum(step["dropped"].values())
    assert steps[-1]["documents"] == len(documents(world / "web"))
    assert steps[-1]["words"] == sum(len(row["text"].split()) for row in documents(world / "web"))


def test_a_broken_record_costs_itself_only(world):
    pages = rows(world / "truth" / "pages.jsonl")
    first = json.loads((world / "web" / "funnel.json").read_text())["steps"][0]
    assert first["dropped"] == {"no_payload": 1, "not_html": 1, "truncated_member": 1}
    assert first["documents"] == len(pages) - 3
    lost = {row["metadata"]["filter_reason"]: row["metadata"]["url"] for row in documents(world / "web", "removed/warc")}
    assert lost["truncated_member"] == pages[-1]["url"]


def test_reading_goes_on_after_a_broken_member():
    contents = [random.Random(i).randbytes(size) for i, size in enumerate((10, 70_000, 300, 200_000, 40))]
    members = [gzip.compress(content, mtime=0) for content in contents]

    def read(*parts: bytes) -> list:
        members = warc.gzip_members(io.BytesIO(b"".join(parts)))
        return [error or contents.index(content) for _, content, error in members]

    assert read(*members) == [0, 1, 2, 3, 4]
    assert read(*members[:4], members[4][:-9]) == [0, 1, 2, 3, "truncated"]
    damaged = bytearray(members[1])
    damaged[100] ^= 255
    for part in (members[1][:20_000], bytes(damaged)):
        assert [r for r in read(members[0], part, *members[2:]) if isinstance(r, int)] == [0, 2, 3, 4]
    assert read(b"") == [] and read(b"no gzip at all") == ["corrupt"]


def test_a_rerun_does_nothing(world, capsys):
    def state() -> dict:
        files = [path for path in (world / "web").rglob("*") if path.is_file() and path.name not in ("funnel.json", "settings.json")]
        return {path: path.stat().st_mtime_ns for path in files}

    before, funnel = state(), (world / "web" / "funnel.json").read_text()
    web.main(["--input_dir", str(world / "warc"), "--output_dir", str(world / "web")])
    assert state() == before and (world / "web" / "funnel.json").read_text() == funnel
    assert capsys.readouterr().out.count("finished before") == 5


def test_two_processes_give_the_same_documents(world, tmp_path):
    paths = ["--input_dir", str(world / "warc"), "--output_dir", str(tmp_path)]
    command = [sys.executable, "-m", "data_prep.web", *paths, "--tasks", "2", "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(map(json.dumps, documents(tmp_path))) == sorted(map(json.dumps, documents(world / "web")))
    assert len(list((tmp_path / "documents").iterdir())) == 2


def test_shortcuts_change_no_outcome(world):
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherRepetitionFilter
    from datatrove.utils.word_tokenizers import SpaCyTokenizer

    folders = ("documents", "removed/language", "removed/repetition", "removed/c4")
    texts = [row["text"] for folder in folders for row in documents(world / "web", folder)[:6]]
    texts += ['He can\'t go to the U.S.  "No!" (she said).. What?! 3.5km e.g. http://a.b/c?d — end', " \n", "one two " * 60]
    theirs, ours = SpaCyTokenizer("en"), filters.EnglishWords()
    their_filter = GopherRepetitionFilter()
    our_filter = filters.RepetitionFilter(list(their_filter.top_n_grams), list(their_filter.dup_n_grams))
    for text in texts:
        assert ours.word_tokenize(text) == theirs.word_tokenize(text)
        for line in filter(None, map(str.strip, text.splitlines())):
            assert len(ours.span_tokenize(line)) == len(theirs.span_tokenize(line)), line
        assert our_filter.filter(Document(text, "0")) == their_filter.filter(Document(text, "0"))


def test_sorted_lines_are_a_set(tmp_path):
    lines = sorted({f"{random.Random(i).randint(0, 999)}.example" for i in range(300)})
    (tmp_path / "lines").write_text("\n".join(lines) + "\n")
    known = filters.SortedLines(tmp_path / "lines")
    assert all((f"{i}.example" in known) == (f"{i}.example" in lines) for i in range(1000))
    assert "" not in known and "zzz" not in known


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--input_dir": "nowhere"}, "nowhere does not exist"),
        ({"--input_dir": "{empty}"}, "no *.warc.gz file"),
        ({"--config": "{bad}"}, "unknown key line_punct_thre"),
        ({"--min_doc_words": "many"}, "invalid int"),
        ({"--tasks": "0"}, "at least 1"),
        ({"--output_dir": "{web}", "--min_doc_words": "40"}, "other settings"),
    ],
)
def test_bad_input_is_one_line(world, tmp_path, capsys, change, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.yaml").write_text(web.DEFAULT_CONFIG.read_text() + "line_punct_thre: 0.1\n")
    places = {"empty": tmp_path / "empty", "bad": tmp_path / "bad.yaml", "web": world / "web"}
    arguments = {"--input_dir": str(world / "warc"), "--output_dir": str(tmp_path / "out")}
    arguments |= {key: value.format(**places) for key, value in change.items()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        web.main([word for pair in arguments.items() for word in pair])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and says in error
