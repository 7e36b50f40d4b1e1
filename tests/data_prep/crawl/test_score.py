"""The score holds a web run against the truth: the bars on a generated crawl, and every way of being wrong counts
where it should."""

import gzip
import json
import random
from pathlib import Path

import pytest

from data_prep import web
from data_prep.crawl import score
from data_prep.crawl.score import article_f1
from data_prep.world.crawl import Article, pages, write_crawl
from data_prep.world.crawl.prose import prose


def run(folder: Path, count: int, *options: str) -> dict:
    """The score of a crawl of `count` articles."""
    rng = random.Random(7)
    articles = [Article(f"Story {i}", prose(rng, rng.randint(4, 8)), f"story-{i}") for i in range(count)]
    write_crawl(articles, folder, seed=3)
    web.main(["--input_dir", str(folder / "warc"), "--output_dir", str(folder / "web"), *options])
    web.main(["score", "--web_dir", str(folder / "web"), "--truth", str(folder / "truth")])
    return json.loads((folder / "web" / "score.json").read_text())


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("crawl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            pages.BAD_SHARES, "near_duplicate", 0.2
        )  # MinHash itself misses 1 in 80 of them: 50, so that one miss decides nothing
        patch.setattr(pages, "PII_SHARE", 0.2)
        patch.setattr(pages, "NUMBERS_SHARE", 0.15)
        return folder, run(folder, 250)


def test_the_bars(good):
    result = good[1]
    assert [row["step"] for row in result["steps"]] == list(web.STEPS[:-1])
    for row in result["steps"]:
        assert row["precision"]["share"] >= 0.95 and row["recall"]["share"] >= 0.95, row
    near = result["near_duplicates"]
    assert near["same"]["n"] == 50 and near["same"]["share"] >= 0.95 and near["exact"]["share"] == 1
    assert near["other"]["n"] >= 2 and near["other"]["hits"] == 0 and near["between"]["n"] >= 1
    assert result["article"]["f1"] > 0.98 and result["article"]["n"] > 200
    assert (
        set(result["pii"]) == {"email", "ip", "phone", "ssn", "card", "iban", "all"}
        and result["pii"]["all"]["n"] >= 100
    )
    assert all(row["share"] >= 0.99 for row in result["pii"].values())
    assert result["numbers"]["all"]["n"] >= 250 and result["numbers"]["all"]["share"] <= 0.01
    assert not result["unaccounted"]


def test_a_broken_step_is_seen(tmp_path):
    broken = [
        "--min_doc_words",
        "5",
        "--remove_cards",
        "false",
        "--minhash_hashes_per_bucket",
        "70",
        "--languages",
        "en",
        "de",
        "fr",
        "es",
    ]
    result = run(tmp_path, 120, *broken)
    steps = {row["step"]: row for row in result["steps"]}
    assert steps["language"]["recall"]["share"] == 0 and steps["quality"]["recall"]["share"] < 0.8
    assert steps["repetition"]["precision"]["share"] < 0.5  # which takes the foreign pages instead
    assert steps["url"]["precision"]["share"] == steps["url"]["recall"]["share"] == 1
    assert result["near_duplicates"]["same"]["share"] < 0.95 <= result["near_duplicates"]["exact"]["share"]
    assert (
        result["pii"]["card"]["share"] == 0
        and result["pii"]["iban"]["share"] == 1
        and result["pii"]["all"]["share"] < 0.99
    )


SENTENCE = "The number {} stands in the middle of this line, and the rest of it says nothing."


def write(
    folder: Path, pages: list[dict], pairs: list[dict], kept: dict[str, str], removed: dict[str, list[str]]
) -> tuple[Path, Path]:
    """A truth and a web folder as the two programs write them."""
    truth, output = folder / "truth", folder / "web"
    truth.mkdir()
    defaults = {"keep": True, "step": None, "pii": [], "numbers": []}
    (truth / "pages.jsonl").write_text(
        "".join(json.dumps(defaults | {"text": SENTENCE, "group": i} | page) + "\n" for i, page in enumerate(pages))
    )
    (truth / "near_duplicates.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for place, rows in {
        "documents": kept,
        **{f"removed/{step}": dict.fromkeys(urls, SENTENCE) for step, urls in removed.items()},
    }.items():
        (output / place).mkdir(parents=True)
        with gzip.open(output / place / "00000.jsonl.gz", "wt") as file:
            file.writelines(
                json.dumps({"text": text, "id": url, "metadata": {"url": url}}) + "\n" for url, text in rows.items()
            )
    (output / "funnel.json").write_text("{}")
    return output, truth


def small(**changes) -> dict:
    """Two originals with a copy each, a page in between, one of its own, and two bad ones; and what a perfect run
    makes of them."""
    near = [
        {"a": "a", "b": "a2", "overlap": 0.9},
        {"a": "b", "b": "b2", "overlap": 1.0},
        {"a": "c", "b": "c2", "overlap": 0.6},
    ]
    pages = [{"url": url, "group": group} for url, group in (("a", 0), ("b", 1), ("c", 2), ("d", 3))]
    pages += [
        {"url": f"{url}2", "group": group, "keep": False, "step": "dedup"} for url, group in (("a", 0), ("b", 1))
    ]
    pages += [
        {"url": "c2", "keep": None},
        {"url": "d2"},
        {"url": "bad", "step": "quality", "keep": False},
        {"url": "foreign", "step": "language", "keep": False},
    ]
    right = {
        "pages": [{"group": 10 + i} | page for i, page in enumerate(pages)],
        "pairs": [*near, {"a": "d", "b": "d2", "overlap": 0.3}],
        "kept": dict.fromkeys(("a", "b2", "c", "d", "d2"), SENTENCE),
        "removed": {"dedup": ["a2", "b", "c2"], "quality": ["bad"], "language": ["foreign"]},
    }
    return right | changes


def shares(result: dict, step: str) -> tuple:
    row = next(row for row in result["steps"] if row["step"] == step)
    return row["precision"]["share"], row["recall"]["share"]


def test_a_perfect_run(tmp_path):
    result = score.score(*write(tmp_path, **small()))
    assert [shares(result, step) for step in ("dedup", "quality", "language")] == [(1, 1)] * 3 and shares(
        result, "url"
    ) == (None, None)
    near = {name: (row["hits"], row["n"]) for name, row in result["near_duplicates"].items()}
    assert near == {"exact": (1, 1), "same": (1, 1), "between": (1, 1), "other": (0, 2)}
    assert result["article"]["f1"] == 1 and result["unaccounted"] == []


def test_an_earlier_step_s_catch_is_a_miss_of_the_later(tmp_path):
    removed = {"dedup": ["a2", "b"], "quality": [], "language": ["foreign", "bad"]}
    result = score.score(
        *write(tmp_path, **small(removed=removed, kept=dict.fromkeys(("a", "b2", "c", "c2", "d", "d2"), SENTENCE)))
    )
    assert shares(result, "quality") == (None, 0) and shares(result, "language") == (0.5, 1)


def test_dedup_must_leave_one_of_a_group_and_pages_of_their_own(tmp_path):
    removed = {"dedup": ["a", "a2", "d", "c"], "quality": ["bad"], "language": ["foreign"]}
    result = score.score(*write(tmp_path, **small(removed=removed, kept=dict.fromkeys(("b", "b2", "c2"), SENTENCE))))
    assert shares(result, "dedup") == (
        1 / 3,
        1 / 2,
    )  # right: one of a; wrong: the other, and d; c may go; b or b2 should have
    near = {name: (row["hits"], row["n"]) for name, row in result["near_duplicates"].items()}
    assert near == {"exact": (0, 1), "same": (1, 1), "between": (1, 1), "other": (1, 2)}
    assert result["unaccounted"] == ["d2"]


def test_personal_data_and_numbers(tmp_path):
    text = "Call {} after lunch.\nThe year {} was good, and so were 12 others.\nA lost line about {} only."
    page = {"url": "a", "text": text.format("+44 20 7946 0018", "1984", "536-90-4399")}
    page |= {
        "pii": [{"kind": "phone", "text": "+44 20 7946 0018"}, {"kind": "ssn", "text": "536-90-4399"}],
        "numbers": [{"kind": "year", "text": "1984"}],
    }
    lines = text.split("\n")
    for i, (document, phone, year, other) in enumerate((
        ((lines[0].format("X") + lines[1].format("1984")), (1, 1), (0, 1), (0, 1)),
        ((lines[0].format("+44 20 7946 0018") + lines[1].format("X")), (0, 1), (1, 1), (0, 1)),
        ((lines[0].format("X") + lines[1].format("1984").replace("12", "X")), (1, 1), (0, 1), (1, 1)),
        ("Nothing of it is left.", (0, 0), (0, 0), (0, 0)),
    )):  # fmt: skip
        (tmp_path / str(i)).mkdir()
        result = score.score(
            *write(
                tmp_path / str(i),
                [page, {"url": "b"}],
                [{"a": "a", "b": "b", "overlap": 0.1}],
                {"a": document, "b": SENTENCE},
                {},
            )
        )
        got = [
            (row["hits"], row["n"])
            for row in (result["pii"]["phone"], result["numbers"]["year"], result["numbers"]["other"])
        ]
        assert got == [phone, year, other]
        assert result["pii"]["ssn"]["n"] == 0  # its line is lost, which is no merit of the step


def test_article_f1_by_hand():
    truth, found = "one two three four five six", "one two three four nine"  # 3 shingles, 2 shingles, 1 in both
    result = article_f1([truth, truth], [truth, found])
    assert result["precision"] == pytest.approx((1 + 1 / 2) / 2) and result["recall"] == pytest.approx((1 + 1 / 3) / 2)
    assert result["f1"] == pytest.approx(2 * 0.75 * (2 / 3) / (0.75 + 2 / 3)) and 0 < result["f1_std"] < 0.5
    assert article_f1([truth], [truth.replace(" ", "\n")])["f1"] == 1
    nothing = article_f1([truth, truth], [truth, ""])  # its precision is left out, its recall is 0
    assert (nothing["precision"], nothing["recall"]) == (1, 0.5)
    assert article_f1(["one two"], ["one two"])["f1"] == 1 and article_f1([truth], ["of something else"])["f1"] == 0


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)],
)
def test_intervals(hits, n, low, high):
    """The first three: Newcombe 1998, Statistics in Medicine 17, table I, method 3."""
    row = score.share(hits, n)
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("web_dir", "truth", "says"),
    [
        ("{web}", "nowhere", "truth folder nowhere does not exist"),
        ("nowhere", "{truth}", "web folder nowhere does not exist"),
        ("{empty}", "{truth}", "funnel.json does not exist"),
        ("{web}", "{empty}", "pages.jsonl does not exist"),
        ("{web}", "{other}", "not in"),
        ("{cut}", "{truth}", "cannot be read"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, web_dir, truth, says):
    for name in ("own", "other", "cut", "empty"):
        (tmp_path / name).mkdir()
    output, own = write(tmp_path / "own", **small())
    _, other = write(tmp_path / "other", [{"url": "x"}, {"url": "y"}], [{"a": "x", "b": "y", "overlap": 0.3}], {}, {})
    cut, _ = write(tmp_path / "cut", **small())
    archive = cut / "documents" / "00000.jsonl.gz"
    archive.write_bytes(archive.read_bytes()[:-20])
    places = {"web": output, "truth": own, "other": other, "empty": tmp_path / "empty", "cut": cut}
    with pytest.raises(SystemExit) as stopped:
        web.main(["score", "--web_dir", web_dir.format(**places), "--truth", truth.format(**places)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and says in error
