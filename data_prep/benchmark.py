"""How fast and how good `data_prep.web` is beside datatrove's own examples/fineweb.py: the same pages, one process, in
turn.

    python -m data_prep.benchmark --input_dir runs/tiny/world/warc --articles ../shared/data/article-extraction

`--articles` holds real pages with the article text that people marked (`ground-truth.json`, `html/*.html.gz`, as in
scrapinghub/article-extraction-benchmark); they give the extraction's F1. `--input_dir` holds a crawl; it says whether
the same pages survive. Its broken records, of which datatrove's reader dies, are left out.

Three contenders: datatrove's steps, `data_prep.web` with datatrove's extraction settings, which must give the same
documents faster, and `data_prep.web` with its defaults. Start-up (block lists, language model) is left out of
datatrove's time and not of ours. All read the same small language model, because the one that datatrove names has to
be downloaded, and none counts tokens, which needs a download, too.
"""

import contextlib
import gzip
import io
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from data_prep import web
from data_prep.crawl.executor import Executor
from data_prep.crawl.filters import LANGUAGE_MODEL
from data_prep.crawl.score import article_f1
from data_prep.crawl.warc import gzip_members
from eval.cli import UserError, command, existing, parse


@dataclass
class BenchmarkArguments:
    input_dir: str = field(metadata={"help": "Folder with *.warc.gz files."})
    articles: str | None = field(default=None, metadata={"help": "Folder of article-extraction-benchmark."})
    repeats: int = field(default=3, metadata={"help": "Runs of each; the medians are compared."})
    output: str | None = field(default=None, metadata={"help": "JSON file for the figures."})


def fineweb_example(pages: Path, output: Path) -> float:
    """The steps of datatrove's examples/fineweb.py with its library's defaults. Returns the seconds
    without start-up."""
    from trafilatura.deduplication import LRU_TEST

    stages = [(fineweb_filtering(pages, output), 1), *fineweb_deduplication(output)]
    LRU_TEST.clear()  # the child that extracts is forked from this process
    started = time.perf_counter()
    for number, (pipeline, tasks) in enumerate(stages):
        Executor(pipeline, tasks=tasks, workers=1, logging_dir=str(output / "logs" / str(number))).run()
    return time.perf_counter() - started


def fineweb_filtering(pages: Path, output: Path) -> list[PipelineStep]:
    """The first stage: from WARC files to the pages that pass every filter."""
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        LanguageFilter,
        URLFilter,
    )
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers import JsonlWriter
    from tldextract import TLDExtract

    def rejects(name: str) -> JsonlWriter:
        return JsonlWriter(str(output / "removed" / name))

    class Loaded(URLFilter):
        def __deepcopy__(self, memo):  # datatrove copies the pipeline for every task: 4.6 million domains
            return self

    url, language = Loaded(exclusion_writer=rejects("url")), LanguageFilter(exclusion_writer=rejects("language"))
    url.tldextractor = TLDExtract(suffix_list_urls=())  # else it asks the network
    url.download_data()
    language.model.MODEL_URL = LANGUAGE_MODEL
    return [
        WarcReader(str(pages), glob_pattern="*.warc.gz", default_metadata={"dump": "benchmark"}),
        url,
        Trafilatura(favour_precision=True),
        language,
        GopherRepetitionFilter(exclusion_writer=rejects("repetition")),
        GopherQualityFilter(exclusion_writer=rejects("quality")),
        C4QualityFilter(filter_no_terminal_punct=False, exclusion_writer=rejects("c4")),
        FineWebQualityFilter(exclusion_writer=rejects("fineweb")),
        JsonlWriter(str(output / "filtered")),
    ]


def fineweb_deduplication(output: Path) -> list[tuple[list[PipelineStep], int]]:
    """(Pipeline, number of tasks) of the stages after the filters: MinHash's, the last of which writes the
    documents."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(
        n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(hash_fc="sha1", precision=64)
    )
    filtered, work = str(output / "filtered"), output / "work"
    signatures, buckets, clusters = (str(work / name) for name in ("signatures", "buckets", "clusters"))
    take = MinhashDedupFilter(clusters, JsonlWriter(str(output / "removed" / "dedup")))
    return [
        ([JsonlReader(filtered), MinhashDedupSignature(signatures, config)], 1),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(buckets, clusters, config=config)], 1),
        ([JsonlReader(filtered), take, PIIFormatter(), JsonlWriter(str(output / "documents"))], 1),
    ]


def ours(pages: Path, output: Path, options: tuple[str, ...] = ()) -> float:
    """`data_prep.web`. Returns the seconds, start-up and all."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        web.main(["--input_dir", str(pages), "--output_dir", str(output), *options])
    return time.perf_counter() - started


SAME = ("--deduplicate_segments", "true", "--extraction_fallback_below", "0")  # where web.yaml departs from datatrove
CONTENDERS = {"datatrove": fineweb_example, "same settings": partial(ours, options=SAME), "tumbler": ours}


def race(name: str, pages: Path, repeats: int) -> dict:
    """Seconds of each contender, run in turn, and the URLs that survived."""
    from warcio.archiveiterator import ArchiveIterator

    count = 0
    for path in pages.glob("*.warc.gz"):
        with open(path, "rb") as file:
            count += sum(record.rec_type == "response" for record in ArchiveIterator(file))
    seconds, survivors = {key: [] for key in CONTENDERS}, {}
    for repeat in range(repeats):
        for key, contender in CONTENDERS.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds[key].append(contender(pages, Path(folder)))
                survivors[key] = set()
                for path in Path(folder, "documents").glob("*.jsonl.gz"):
                    with gzip.open(path, "rt") as file:
                        survivors[key] |= {json.loads(line)["metadata"]["url"] for line in file}
            print(
                f"[benchmark] {name}, run {repeat + 1} of {repeats}: {key} {count / seconds[key][-1]:.1f} pages/s",
                flush=True,
            )
    speed = {key: count / statistics.median(values) for key, values in seconds.items()}
    return {
        "pages": count,
        "pages_per_second": speed,
        "ratio": {key: value / speed["datatrove"] for key, value in speed.items()},
        "survivors": {key: len(urls) for key, urls in survivors.items()},
        "survivors_differ_in": {key: sorted(urls ^ survivors["datatrove"]) for key, urls in survivors.items()},
    }


def extraction_f1(truth: dict[str, str], pages: dict[str, str]) -> dict:
    """F1 of each extraction on the marked articles: `data_prep.crawl.score.article_f1` of each contender."""
    from datatrove.data import Document
    from datatrove.pipeline.extractors import Trafilatura
    from trafilatura.deduplication import LRU_TEST

    def step(*options: str):
        args = web.arguments(["--input_dir", "", "--output_dir", "", *options])
        extraction = web.page_steps(args, Path(tempfile.gettempdir()))["extraction"]

        def extract(page: str) -> str:
            document = Document(text=page, id="")
            return document.text if extraction.filter(document) is True else ""

        return extract

    scores = {}
    for key, extract in zip(CONTENDERS, (Trafilatura(favour_precision=True).extract, step(*SAME), step())):
        LRU_TEST.clear()
        scores[key] = article_f1(list(truth.values()), [extract(pages[url]) or "" for url in truth])
    return scores


def read_articles(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """URL -> marked article, URL -> HTML of article-extraction-benchmark."""
    truth = existing(
        folder / "ground-truth.json", "ground truth", "give the folder of article-extraction-benchmark as --articles"
    )
    truth = {f"http://{key}.example/": row["articleBody"] for key, row in json.loads(truth.read_text()).items()}
    pages = {
        f"http://{path.name.split('.')[0]}.example/": gzip.decompress(path.read_bytes()).decode()
        for path in (folder / "html").glob("*.html.gz")
    }
    missing = truth.keys() - pages.keys()
    if missing:
        raise UserError(
            f"{folder}/html lacks {len(missing)} pages of {folder}/ground-truth.json: unpack the benchmark again"
        )
    return truth, pages


def whole_records(crawl: Path, output: Path) -> Path:
    """A copy of the crawl without broken records."""
    for path in crawl.glob("*.warc.gz"):
        with open(path, "rb") as file:
            (output / path.name).write_bytes(
                b"".join(gzip.compress(content) for _, content, error in gzip_members(file) if not error)
            )
    return output


def write_warc(pages: dict[str, str], path: Path) -> None:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    with open(path, "wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, page in pages.items():
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    url,
                    "response",
                    payload=io.BytesIO(page.encode()),
                    http_headers=headers,
                    warc_headers_dict={"WARC-Identified-Payload-Type": "text/html"},
                )
            )


def print_table(name: str, result: dict) -> None:
    """A row for each figure, a column for each contender."""
    print(f"\n{name}, {result['pages']} pages {'':<20}" + "".join(f"{key:>16}" for key in CONTENDERS))
    for what, key, form in (
        ("pages/s", "pages_per_second", ".1f"),
        ("times datatrove's", "ratio", ".2f"),
        ("survivors", "survivors", "d"),
    ):
        print(f"{what:<36}" + "".join(f"{result[key][contender]:>16{form}}" for contender in CONTENDERS))
    differ = result["survivors_differ_in"]
    print(f"{'survivors not in both':<36}" + "".join(f"{len(differ[contender]):>16}" for contender in CONTENDERS))
    f1 = result.get("f1")
    if f1:
        values = "".join(f"{f1[c]['f1']:>8.4f} ± {f1[c]['f1_std']:.3f}" for c in CONTENDERS)
        print(f"{'F1 of the extraction (± 1 std)':<36}{values}")


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((BenchmarkArguments,), argv)
    if args.repeats < 1:
        raise UserError(f"repeats must be at least 1, but is {args.repeats}")
    crawl = existing(
        args.input_dir,
        "the folder of WARC files",
        "give the one that data_prep.world or a crawl has written as --input_dir",
    )
    if not any(crawl.glob("*.warc.gz")):
        raise UserError(f"no *.warc.gz file in {crawl}")
    results = {}
    if args.articles:
        truth, pages = read_articles(Path(args.articles))
        with tempfile.TemporaryDirectory() as folder:
            write_warc({url: pages[url] for url in truth}, Path(folder) / "articles.warc.gz")
            results["articles"] = race("articles", Path(folder), args.repeats) | {"f1": extraction_f1(truth, pages)}
    with tempfile.TemporaryDirectory() as folder:
        results["crawl"] = race("crawl", whole_records(crawl, Path(folder)), args.repeats)
    for name, result in results.items():
        print_table(name, result)
    if args.output:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        Path(args.output).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
