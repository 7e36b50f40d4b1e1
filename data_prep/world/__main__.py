"""Write the tiny internet, and all that `make tiny` reads, from a seed.

    python -m data_prep.world --output_dir runs/tiny/world --seed 0

Layout: `warc/` and `truth/` (the crawl), `facts.jsonl`, `textbooks/`, `conversations/`, `practice/` (what honesty and
tools are practised on), `library/` (pages that only the search tool reads), `problems/`, `verses/`, `eval/`, and
`probes/`, what experiments are made with. The same seed gives the same bytes.
"""

import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eval.cli import UserError, command, output_folder, parse


@dataclass
class WorldArguments:
    output_dir: str = field(metadata={"help": "folder to write"})
    seed: int = field(default=0, metadata={"help": "another seed is another world"})
    known: int = field(default=72, metadata={"help": "people on many pages (three facts each)"})
    pages_per_person: int = field(default=8, metadata={"help": "pages that name a known person"})
    textbooks: int = field(default=6000, metadata={"help": "exercise documents of about 150 tokens"})
    conversations: int = field(default=24000, metadata={"help": "rows for SFT"})
    problems: int = field(default=4000, metadata={"help": "rows for GRPO"})
    searches: int = field(default=3600, metadata={"help": "questions with a search"})
    codes: int = field(default=11400, metadata={"help": "questions with code"})
    requests: int = field(default=3000, metadata={"help": "small talk, and requests beyond what it can do"})
    talks: int = field(default=1000, metadata={"help": "conversations of several turns, and answers at once"})
    p_correct: float = field(
        default=0.38, metadata={"help": "how often the expert of the worked solutions chooses the right method"}
    )


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def training_texts(out: Path, articles: list) -> list[str]:
    """What the pages, books, conversations and practice that are written to `out` say, a text a row."""
    from data_prep.world.fair import text_of_row

    texts = ["\n".join(article.paragraphs) for article in articles]
    files = [
        out / "textbooks" / "textbooks.jsonl",
        out / "conversations" / "train.jsonl",
        *sorted((out / "practice").glob("*.jsonl")),
    ]
    for path in files:
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            texts.append(text_of_row(json.loads(line)))
    return texts


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((WorldArguments,), argv)
    from data_prep.problem_sets.generators import apples
    from data_prep.problem_sets.rows import STEPS, row
    from data_prep.problem_sets.splits import SPLITS
    from data_prep.world import conversations, facts, practice, rhymes, taste, textbooks, wording_benchmarks
    from data_prep.world.crawl import write_crawl

    for name in (
        "known",
        "pages_per_person",
        "textbooks",
        "conversations",
        "problems",
        "searches",
        "codes",
        "requests",
        "talks",
    ):
        if getattr(args, name) < 1:
            raise UserError(f"{name} must be at least 1, but is {getattr(args, name)}")
    most = len(facts.FIRST) * len(facts.LAST) - sum(getattr(facts.World, group) for group in facts.GROUPS[1:])
    if args.known % 2 or args.known > most:
        raise UserError(
            f"known must be even (two people share a page) and at most {most} (as many names there are), but is"
            f" {args.known}"
        )
    if not 0 <= args.p_correct <= 1:
        raise UserError(f"p_correct must lie between 0 and 1, but is {args.p_correct}")
    out = output_folder(args.output_dir)
    world = facts.World(args.seed, known=args.known)
    articles = facts.articles(world, args.pages_per_person)
    write_crawl(articles, out, args.seed)
    write_jsonl(out / "facts.jsonl", [asdict(fact) for group in world.people for fact in world.facts(group)])
    write_jsonl(out / "textbooks" / "textbooks.jsonl", textbooks.documents(world, args.textbooks))
    for split, share in (("train", 1.0), ("validation", 0.02)):
        write_jsonl(
            out / "conversations" / f"{split}.jsonl",
            conversations.conversations(world, split, max(1, round(args.conversations * share)), args.p_correct),
        )
        rng = random.Random(f"problems-{args.seed}-{split}")
        rows = [row(apples(rng, split), STEPS) for _ in range(max(1, round(args.problems * share)))]
        write_jsonl(out / "problems" / f"{split}.jsonl", rows)
    write_jsonl(out / "practice" / "questions.jsonl", practice.questions(world))
    write_jsonl(out / "practice" / "tool_use.jsonl", practice.tool_use(world, args.searches, args.codes))
    write_jsonl(out / "practice" / "sums.jsonl", practice.sums(world))
    write_jsonl(out / "practice" / "requests.jsonl", practice.requests(world, args.requests))
    write_jsonl(out / "practice" / "talks.jsonl", practice.talks(world, args.talks))
    write_jsonl(out / "library" / "library.jsonl", facts.library(world))
    for split in SPLITS:
        write_jsonl(out / "verses" / f"{split}.jsonl", taste.prompts(split))
    texts = training_texts(out, articles)
    for task, rows in (conversations.benchmarks(world) | wording_benchmarks.benchmarks(world, texts)).items():
        write_jsonl(out / "eval" / f"{task}.jsonl", rows)
    write_jsonl(out / "probes" / "rhymes" / "rhymes.jsonl", rhymes.documents(args.seed))
    write_jsonl(out / "probes" / "unseen_rhymes.jsonl", rhymes.unseen(args.seed))
    write_jsonl(out / "probes" / "told.jsonl", facts.statement_questions(world))
    print(f"{out}: {len(articles)} articles, {args.textbooks} exercise documents, {args.conversations} conversations")


if __name__ == "__main__":
    main()
