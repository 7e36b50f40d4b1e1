"""The tiny crawl through FineWeb's recipe: who survives, what takes the others, and what a broken record costs."""

import gzip
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from data_prep import benchmark, web
from data_prep.crawl import filters, warc
from data_prep.tokenizer import train
from data_prep.world.crawl import Article, write_crawl
from data_prep.world.crawl.prose import prose

ROOT = Path(__file__).resolve().parents[3]


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
    assert 0.78 < sum(row["keep"] is True for row in truth) / len(truth) < 0.82
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
    lost = {
        row["metadata"]["filter_reason"]: row["metadata"]["url"] for row in documents(world / "web", "removed/warc")
    }
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
        written_anew = ("funnel.json", "funnel.svg", "README.md", "settings.json")
        files = [path for path in (world / "web").rglob("*") if path.is_file() and path.name not in written_anew]
        return {path: path.stat().st_mtime_ns for path in files}

    before, funnel = state(), (world / "web" / "funnel.json").read_text()
    web.main(["--input_dir", str(world / "warc"), "--output_dir", str(world / "web")])
    assert state() == before and (world / "web" / "funnel.json").read_text() == funnel
    assert capsys.readouterr().out.count("finished before") == 5


def command(world: Path, output: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "data_prep.web",
        "--input_dir",
        str(world / "warc"),
        "--output_dir",
        str(output),
        *options,
    ]


def run(command: list[str], **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def same_documents(a: Path, b: Path) -> bool:
    return sorted(map(json.dumps, documents(a))) == sorted(map(json.dumps, documents(b)))


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> Path:
    """A crawl in four files and its documents, made by four tasks of two processes."""
    folder = tmp_path_factory.mktemp("four")
    write_crawl(articles(40), folder, seed=3, files=4)
    run(command(folder, folder / "web", "--tasks", "4", "--workers", "2"))
    return folder


@pytest.mark.slow
def test_one_task_and_four_give_the_same_documents(four, tmp_path):
    run(command(four, tmp_path / "one"))
    assert same_documents(tmp_path / "one", four / "web")
    assert len(list((four / "web" / "documents").iterdir())) == 4


@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(four, tmp_path):
    """Killed as soon as a task of the filtering, then as soon as a task of the last stage is done."""
    out = tmp_path / "out"
    for stage in ("filtering", "documents"):
        process = subprocess.Popen(
            command(four, out, "--tasks", "4"), cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
        )
        while process.poll() is None and not any((out / "logs" / stage / "completions").glob("*")):
            time.sleep(0.002)
        assert process.poll() is None, "it was too fast to be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert len(list((out / "logs" / stage / "completions").iterdir())) < 4 and not (out / "README.md").exists()
    assert "finished before" in run(command(four, out, "--tasks", "4"))
    for folder in ("documents", "parquet", "removed"):
        files = {path.relative_to(out): path.read_bytes() for path in (out / folder).rglob("*") if path.is_file()}
        assert files == {
            path.relative_to(four / "web"): path.read_bytes()
            for path in (four / "web" / folder).rglob("*")
            if path.is_file()
        }


@pytest.mark.slow
def test_ray_gives_the_same_documents(four, tmp_path):
    options = ("--tasks", "2", "--workers", "2", "--executor", "ray", "--executor_options", '{"mem_per_cpu_gb": 0.5}')
    run(command(four, tmp_path, *options), RAY_ENABLE_UV_RUN_RUNTIME_ENV="0")
    assert same_documents(tmp_path, four / "web")


@pytest.mark.slow
def test_slurm_gives_the_same_documents(four, tmp_path):
    """With an `sbatch` that runs the job array at once."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(SBATCH)
    (tmp_path / "bin" / "srun").write_text(
        '#!/bin/bash\nwhile [[ $1 == -* ]]; do [[ $1 == -n ]] && shift; shift; done\nexec "$@"\n'
    )
    (tmp_path / "bin" / "scontrol").write_text('#!/bin/bash\necho "${@: -1}"\n')
    for path in (tmp_path / "bin").iterdir():
        path.chmod(0o755)
    options = (
        "--tasks",
        "4",
        "--executor",
        "slurm",
        "--executor_options",
        '{"partition": "cpu", "time": "1:00:00", "tasks_per_job": 14}',
    )
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    out = run(command(four, tmp_path / "out", *options), PATH=path, JOBS=str(tmp_path / "jobs"))
    assert "documents: 4 of 4 tasks queued as job" in out
    assert same_documents(tmp_path / "out", four / "web")
    for name in ("README.md", "funnel.json"):
        assert (tmp_path / "out" / name).read_text().replace("# out", "# web") == (four / "web" / name).read_text()
    jobs = (tmp_path / "jobs").read_text().splitlines()
    depends = [
        re.search(r"--dependency=afterok:(\d+)", job)[1] for job in jobs if "RUN_OFFSET" in job and "dependency" in job
    ]
    assert len(depends) == 5 and depends == sorted(depends, key=int)  # each stage waits for the one before


SBATCH = """\
#!/bin/bash
echo "$@" >> $JOBS
script=${@: -1}
last=$(grep -oP '(?<=--array=0-)[0-9]+' $script)
for i in $(seq 0 ${last:-0}); do
    SLURM_ARRAY_TASK_ID=$i SLURM_NODELIST=here bash $script > $JOBS.$i.log 2>&1 || exit 1
done
echo "Submitted batch job $(wc -l < $JOBS)"
"""


def test_documents_as_parquet_with_a_card(world):
    from datasets import load_dataset
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(world / "web" / "README.md")
    assert card.data.size_categories == ["n<1K"] and card.data.language == ["en"]
    for row in json.loads((world / "web" / "funnel.json").read_text())["steps"]:
        assert re.search(rf"^\| {row['step']} \| {row['documents']} \|", card.text, re.MULTILINE)
    table = load_dataset(str(world / "web"), split="train")
    found = documents(world / "web")
    assert [row["text"] for row in table] == [row["text"] for row in found]
    assert [row["metadata"]["url"] for row in table] == [row["metadata"]["url"] for row in found]


def test_the_funnel_is_drawn(world):
    drawing = ElementTree.parse(world / "web" / "funnel.svg").getroot()
    texts = ["".join(text.itertext()) for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for row in json.loads((world / "web" / "funnel.json").read_text())["steps"]:
        assert row["step"] in texts and any(text.split(" · ")[0] == f"{row['documents']:,}" for text in texts)
    assert any(text.startswith("dropped: domain ") for text in texts)


def test_steps_that_are_left_out_take_nothing(world, tmp_path):
    web.main(
        ["--input_dir", str(world / "warc"), "--output_dir", str(tmp_path), "--steps", "url", "extraction", "pii"]
    )
    steps = json.loads((tmp_path / "funnel.json").read_text())["steps"]
    assert [step["step"] for step in steps] == ["warc", "url", "extraction", "pii"]
    assert {path.name for path in (tmp_path / "removed").iterdir()} == {"warc", "url", "extraction"}


def test_tokens_are_counted_where_a_tokenizer_is_given(world, tmp_path):
    tokenizer = train((row["text"] for row in documents(world / "web")), 400)
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    web.main(
        [
            "--input_dir",
            str(world / "warc"),
            "--output_dir",
            str(tmp_path / "out"),
            "--count_tokenizer",
            str(tmp_path / "tokenizer.json"),
        ]
    )
    steps = {step["step"]: step for step in json.loads((tmp_path / "out" / "funnel.json").read_text())["steps"]}
    found = documents(tmp_path / "out")
    assert (
        steps["pii"]["tokens"]
        == sum(len(tokenizer.encode(row["text"])) for row in found)
        == sum(row["metadata"]["token_count"] for row in found)
    )
    assert (
        steps["url"]["tokens"] is None
        and steps["extraction"]["tokens"] > steps["fineweb"]["tokens"] > steps["dedup"]["tokens"]
    )


# ---- real pages ----


def test_a_wikipedia_page_comes_out_as_its_article(shared_data, tmp_path):
    web.main(
        [
            "--input_dir",
            str(shared_data / "warc"),
            "--output_dir",
            str(tmp_path),
            "--steps",
            "url",
            "extraction",
            "dedup",
            "pii",
        ]
    )
    (row,) = documents(tmp_path)
    assert (
        row["metadata"]["url"] == "https://an.wikipedia.org/wiki/Escopete"
        and row["metadata"]["date"] == "2024-05-18T01:58:10Z"
    )
    assert (
        "Escopete ye un municipio d'a provincia de Guadalachara, en a comunidat autonoma de Castiella-La Mancha"
        in row["text"]
    )
    assert (
        "Relaciones Topográficas de los pueblos de Espanya, feitas por Felipe II de Castiella en 1578." in row["text"]
    )
    for furniture in ("editar | modificar", "Menú", "Creative Commons", "Identificar-me"):
        assert furniture not in row["text"]


def test_the_english_recipe_takes_a_page_in_aragonese_by_its_language(shared_data, tmp_path):
    with pytest.raises(SystemExit):
        web.main(["--input_dir", str(shared_data / "warc"), "--output_dir", str(tmp_path)])
    (row,) = documents(tmp_path, "removed/language")
    assert row["metadata"]["filter_reason"] == "an"


def test_articles_of_real_pages(shared_data):
    truth, pages = benchmark.read_articles(shared_data / "article-extraction")
    f1 = benchmark.extraction_f1(truth, pages)
    assert f1["tumbler"]["f1"] >= 0.955 and f1["tumbler"]["f1"] >= f1["datatrove"]["f1"] == f1["same settings"]["f1"]


def test_the_benchmark_compares_like_with_like(world, tmp_path, capsys):
    benchmark.main(["--input_dir", str(world / "warc"), "--repeats", "1", "--output", str(tmp_path / "speed.json")])
    crawl = json.loads((tmp_path / "speed.json").read_text())["crawl"]
    assert crawl["survivors_differ_in"]["same settings"] == [] and crawl["survivors"]["tumbler"] == len(
        documents(world / "web")
    )
    assert crawl["ratio"]["tumbler"] == pytest.approx(
        crawl["pages_per_second"]["tumbler"] / crawl["pages_per_second"]["datatrove"]
    )
    assert f"{crawl['ratio']['tumbler']:.2f}" in capsys.readouterr().out


def test_shortcuts_change_no_outcome(world):
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherRepetitionFilter
    from datatrove.utils.word_tokenizers import SpaCyTokenizer

    folders = ("documents", "removed/language", "removed/repetition", "removed/c4")
    texts = [row["text"] for folder in folders for row in documents(world / "web", folder)[:6]]
    texts += [
        'He can\'t go to the U.S.  "No!" (she said).. What?! 3.5km e.g. http://a.b/c?d — end',
        " \n",
        "one two " * 60,
    ]
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
        ({"--input_dir": "{unreadable}"}, "a.warc.gz cannot be read"),
        ({"--config": "{bad}"}, "unknown key line_punct_thre"),
        ({"--min_doc_words": "many"}, "invalid int"),
        ({"--tasks": "0"}, "at least 1"),
        ({"--steps": "dedupe"}, "unknown step dedupe"),
        ({"--steps": "pii"}, "steps must name extraction"),
        ({"--phone_regions": "Narnia"}, "phone_regions"),
        ({"--executor": "spark"}, "executor must be one of local, slurm, ray"),
        ({"--executor": "slurm"}, "slurm needs time, partition"),
        (
            {"--executor": "slurm", "--executor_options": '{{"time": "1:00", "partition": "cpu"}}'},
            "sbatch, which is not here",
        ),
        ({"--executor": "ray", "--executor_options": '{{"queue": "cpu"}}'}, "ray takes no queue"),
        ({"--output_dir": "{web}", "--min_doc_words": "40"}, "other settings"),
    ],
)
def test_bad_input_is_one_line(world, tmp_path, capsys, change, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "unreadable" / "a.warc.gz").mkdir(parents=True)
    (tmp_path / "bad.yaml").write_text(web.DEFAULT_CONFIG.read_text() + "line_punct_thre: 0.1\n")
    places = {
        "empty": tmp_path / "empty",
        "unreadable": tmp_path / "unreadable",
        "bad": tmp_path / "bad.yaml",
        "web": world / "web",
    }
    arguments = {"--input_dir": str(world / "warc"), "--output_dir": str(tmp_path / "out")}
    arguments |= {key: value.format(**places) for key, value in change.items()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        web.main([word for pair in arguments.items() for word in pair])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and says in error


def test_a_folder_without_permission(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(SystemExit) as stopped:
        web.main(["--input_dir", str(world / "warc"), "--output_dir", str(tmp_path / "out")])
    assert (
        stopped.value.code == 2
        and "no permission to read" in capsys.readouterr().err
        and not (tmp_path / "out").exists()
    )
