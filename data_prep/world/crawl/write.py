"""The WARC files of the crawl, and the truth about each page."""

import datetime
import io
import itertools
import json
import random
import uuid
from pathlib import Path

from data_prep.world.crawl.layouts import HOSTS, render
from data_prep.world.crawl.page import Article, Page
from data_prep.world.crawl.pages import all_pages
from data_prep.world.crawl.prose import overlap

FIRST_FETCH = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)


def _write_record(writer, page: Page, payload: bytes, rng: random.Random, date: datetime.datetime) -> None:
    from warcio.statusandheaders import StatusAndHeaders

    media_type = "text/plain" if page.fault == "not_html" else "text/html"
    http_headers = StatusAndHeaders(
        "200 OK",
        [
            ("Date", date.strftime("%a, %d %b %Y %H:%M:%S GMT")),
            ("Server", rng.choice(("nginx", "Apache/2.4.41", "cloudfront"))),
            ("Content-Type", f"{media_type}; charset=utf-8"),
            ("Content-Length", str(len(payload))),
        ],
        protocol="HTTP/1.1",
    )
    record = writer.create_warc_record(
        page.url,
        "response",
        payload=io.BytesIO(payload),
        http_headers=http_headers,
        warc_headers_dict={
            "WARC-Record-ID": f"<urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}>",
            "WARC-Date": date.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "WARC-Identified-Payload-Type": media_type,
        },
    )
    writer.write_record(record)


def _write_warcinfo(writer, name: str, rng: random.Random) -> None:
    record = writer.create_warc_record(
        "",
        "warcinfo",
        payload=io.BytesIO(b"software: a tiny internet\r\nformat: WARC File Format 1.0\r\n"),
        warc_content_type="application/warc-fields",
        warc_headers_dict={
            "WARC-Record-ID": f"<urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}>",
            "WARC-Date": FIRST_FETCH.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "WARC-Filename": name,
        },
    )
    writer.write_record(record)


def write_crawl(articles: list[Article], output_dir: Path, seed: int, files: int = 2) -> None:
    """Write `output_dir`/warc/*.warc.gz and `output_dir`/truth; the same bytes for the same arguments.

    Args:
        articles: the good pages, at least one. A slug that comes again gets a number.
        files: number of WARC files. The last record of the last one is truncated.

    Columns of truth/pages.jsonl: url; keep (bool; of a group of duplicates the original is marked, but any one may
    stay; null where either may happen, for two pages that share more than `OTHER` and less than `SAME`); step (null,
    or what must take the page: warc, url, extraction, language, repetition, quality, c4, fineweb, dedup); text (the
    article, one paragraph a line); group (int, duplicates share it); pii (list of {kind: one of `PII`, text}); numbers
    (list of {kind: one of `NUMBERS`, text}: to be left alone); file.

    Columns of truth/near_duplicates.jsonl, a row for each pair of pages with a common source: a, b (URLs), overlap
    (see `overlap`; 1.0 is an exact duplicate, to that comparison).
    """
    rng = random.Random(seed)
    pages = all_pages(articles, rng)
    titles = sorted(a.title for a in articles)
    shards = [pages[i * len(pages) // files : (i + 1) * len(pages) // files] for i in range(files)]
    shards[-1].append(_cut_off(articles[0], len(pages)))

    warc, truth = Path(output_dir) / "warc", Path(output_dir) / "truth"
    for folder in (warc, truth):
        folder.mkdir(parents=True, exist_ok=True)
    date = FIRST_FETCH
    with open(truth / "pages.jsonl", "w", encoding="utf-8") as lines:
        for number, shard in enumerate(shards):
            name = f"crawl-{number:05d}.warc.gz"
            date = _write_warc(warc / name, shard, titles, rng, date)
            lines.writelines(json.dumps(_truth(page, name), ensure_ascii=False) + "\n" for page in shard)
    with open(truth / "near_duplicates.jsonl", "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(pair) + "\n" for pair in _pairs(pages))


def _cut_off(article: Article, group: int) -> Page:
    """The page whose record is truncated."""
    page = Page(article.title, list(article.paragraphs), "cut-off", group, keep=False, step="warc", fault="truncated")
    page.host = HOSTS[0][0]
    return page


def _write_warc(
    path: Path, pages: list[Page], titles: list[str], rng: random.Random, date: datetime.datetime
) -> datetime.datetime:
    """Write one file; the first page is fetched some seconds after `date`. Returns when the last one was."""
    from warcio.warcwriter import WARCWriter

    with open(path, "wb") as file:
        writer = WARCWriter(file, gzip=True)
        _write_warcinfo(writer, path.name, rng)
        for page in pages:
            date += datetime.timedelta(seconds=rng.randint(1, 9))
            start = file.tell()
            payload = {"empty": b"", "not_html": b"User-agent: *\n"}.get(page.fault)
            if payload is None:
                payload = render(rng, page, titles)
            _write_record(writer, page, payload, rng, date)
            if page.fault == "truncated":
                file.truncate(start + (file.tell() - start) * 2 // 3)
    return date


def _truth(page: Page, file: str) -> dict:
    return {
        "url": page.url,
        "keep": page.keep,
        "step": page.step,
        "text": page.text,
        "group": page.group,
        "pii": page.pii,
        "numbers": page.numbers,
        "file": file,
    }


def _pairs(pages: list[Page]) -> list[dict]:
    """The overlap of each two pages with a common source."""
    families: dict[int, list[Page]] = {}
    for page in pages:
        if page.source is not None:
            families.setdefault(page.source, []).append(page)
    pairs = []
    for family in families.values():
        for a, b in itertools.combinations(family, 2):
            pairs.append({"a": a.url, "b": b.url, "overlap": overlap(a.text, b.text)})
    return pairs
