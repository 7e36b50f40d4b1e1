"""Which model when: each task at once, in steps, with tools and by a reasoner, with what each way costs.

    python -m eval.probes.ways --assistant runs/tiny/honest --reasoner runs/tiny/grpo --data_dir runs/tiny/world/eval \
        --tools python search=runs/tiny/index --output ways.json \
        --tasks letters=final_number compare=final_number apples=final_number facts_unseen=names_choice

A task is a file `<task>.jsonl` of `data_dir` with `question` and `answer`, and a verifier of `eval.verifiers`. "at
once" asks the assistant for the answer alone (`<task>_at_once.jsonl`; without such a file the question as it stands),
"in steps" leaves it room to work, "with tools" gives it tools too, and "reasoner" is the reasoner in steps. Greedy.

Cost is per question: the new tokens, results of tools among them, and the seconds of this machine in batches of
`batch_size`, which depend on what else it does.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.cli import UserError, command, existing, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy

WAYS = ("at once", "in steps", "with tools", "reasoner")


@dataclass
class WaysArguments:
    assistant: str = field(metadata={"help": "folder (or Hub id) of the chat model that answers"})
    reasoner: str = field(metadata={"help": "folder (or Hub id) of the one that practised"})
    tasks: list[str] = field(metadata={"help": "task=verifier of each"})
    data_dir: str = field(metadata={"help": "folder with <task>.jsonl"})
    output: str = field(metadata={"help": ".json file to write"})
    tools: list[str] = field(
        default_factory=lambda: ["python"], metadata={"help": "python, search=<index folder>: of the way with tools"}
    )
    limit: int = field(default=100, metadata={"help": "questions of a task, the first"})
    max_new_tokens: int = field(default=256, metadata={"help": "of an answer, results of tools among them"})
    batch_size: int = field(default=32, metadata={"help": "questions at a time"})


@dataclass
class Job:
    """One task in one way."""

    task: str
    way: str
    rows: list[dict]
    verifier: str


def jobs(args: WaysArguments) -> list[Job]:
    """What there is to do, task by task.

    Raises:
        UserError: a task that is not task=verifier, no such verifier, or no such file.
    """
    from eval.verifiers import get_verifier

    collected = []
    for named in args.tasks:
        task, _, verifier = named.partition("=")
        if not task or not verifier:
            raise UserError(f"--tasks takes task=verifier, such as letters=final_number, not {named[:60]!r}")
        get_verifier(verifier)
        cure = "python -m data_prep.world writes it, or name another --data_dir"
        plain, short = (Path(args.data_dir) / f"{task}{end}.jsonl" for end in ("", "_at_once"))
        existing(plain, f"the task {task}", cure)
        rows = read_jsonl(plain, ("question", "answer"), cure)[: args.limit]
        at_once = read_jsonl(short, ("question", "answer"), cure)[: args.limit] if short.exists() else rows
        for way in WAYS:
            if way != "in steps" or short.exists():
                collected.append(Job(task, way, at_once if way == "at once" else rows, verifier))
    return collected


def measure(model, tokenizer, job: Job, tools: list, args: WaysArguments) -> dict:
    """Accuracy, tokens and seconds a question of one task in one way, and the first answer."""
    from eval.generation.generate import generate
    from eval.verifiers import get_verifier

    prompts = [[{"role": "user", "content": row["question"]}] for row in job.rows]
    limits: dict[str, Any] = {"max_new_tokens": args.max_new_tokens, "batch_size": args.batch_size}
    begun = time.perf_counter()
    done = [reply for (reply,) in generate(model, tokenizer, prompts, temperature=0, tools=tools or None, **limits)]
    seconds = time.perf_counter() - begun
    verifier = get_verifier(job.verifier)
    judged = [(verifier(reply.text, **row), reply) for row, reply in zip(job.rows, done)]
    judged = [(score, reply) for score, reply in judged if score is not None]
    if not judged:
        raise UserError(f"{job.task}: {job.verifier} can judge none of its answers: choose another verifier")
    return {
        "right": accuracy([score for score, _ in judged]),
        "tokens": accuracy([len(reply.token_ids) for reply in done]),
        "seconds": seconds / len(done),
        "example": {"question": job.rows[0]["question"], "text": done[0].text},
    }


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((WaysArguments,), argv)
    if min(args.limit, args.max_new_tokens, args.batch_size) < 1:
        raise UserError("limit, max_new_tokens and batch_size must be at least 1")
    todo = jobs(args)
    output_file(args.output, [args.assistant, args.reasoner, args.data_dir])
    from tqdm import tqdm

    from eval.generation.models import load_models, require_chat_template
    from eval.generation.tool_loop import load_tools

    tools = load_tools(args.tools)
    folders = {"assistant": args.assistant, "reasoner": args.reasoner}
    loaded = load_models(folders)
    for name, (_, tokenizer) in loaded.items():
        require_chat_template(tokenizer, folders[name])
    measured: dict[str, dict] = {}
    for job in tqdm(todo, unit="task", mininterval=1):
        model, tokenizer = loaded["reasoner" if job.way == "reasoner" else "assistant"]
        figures = measure(model, tokenizer, job, tools if job.way == "with tools" else [], args)
        measured.setdefault(job.task, {})[job.way] = figures
        cost = f"{figures['tokens']['value']:.0f} tokens, {figures['seconds']:.3f} s a question"
        tqdm.write(f"{job.task}, {job.way}: {figures['right']['value']:.3f} (n = {figures['right']['n']}), {cost}")
    write_json(args.output, {"models": folders, "batch_size": args.batch_size, "tasks": measured}, ensure_ascii=False)


if __name__ == "__main__":
    main()
