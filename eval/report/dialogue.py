"""The same questions to every stage of a run: the dialogue of the README.

    python -m eval.report.dialogue --run runs/tiny
    python -m eval.report.dialogue --run runs/tiny --questions "Who are you?" "What is 2 + 2?"
    python -m eval.report.dialogue --run runs/smol

Greedy, so that the same run gives the same words. A base model continues the question's text; the others answer it as
a user's message. `honest` answers twice, the second time with the tools (Python, and search in the run's index): each
call and its result are shown in brackets. Prints Markdown: one block, replies cut to one line.
"""

import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, existing, parse

QUESTIONS = ("Who is Orson Kovats?", "How many r are in strawberry?", "What is 345 * 678?")
STAGES = ("hub", "base", "sft", "honest", "grpo")  # of these the ones that a run has, `honest` among them
LABEL = 16  # columns before a reply
WIDTH = 119


@dataclass
class DialogueArguments:
    run: str = field(metadata={"help": "folder of a finished run"})
    questions: list[str] = field(
        default_factory=lambda: list(QUESTIONS), metadata={"help": "what each stage is asked"}
    )
    max_new_tokens: int = field(default=320, metadata={"help": "most tokens of a reply, results of tools included"})


def one_line(text: str, most: int) -> str:
    """A text on one line, cut to `most` characters."""
    return textwrap.shorten(" ".join(text.split()), most, placeholder=" …")


def shown(generation) -> str:
    """A reply on one line: its words, with each call and its result in brackets."""
    if not generation.messages:
        return one_line(generation.text, 400)
    parts = []
    for message in generation.messages:
        for call in message.get("tool_calls") or []:
            function = call["function"]
            arguments = function["arguments"]
            values = arguments.values() if isinstance(arguments, dict) else [arguments]
            parts.append(f"[{function['name']}: {one_line(' '.join(map(str, values)), 60)}]")
        if message["role"] == "tool":
            parts.append(f"[→ {one_line(message['content'], 200) or 'nothing'}]")
        elif (message.get("content") or "").strip():
            parts.append(one_line(message["content"], 400))
    return " ".join(parts)


def ask(path: Path, questions: list[str], completes: bool, tools: list[str], max_new_tokens: int) -> list[str]:
    """The replies of the model in a folder to each question, on one line each.

    Args:
        completes: it is a base model, which continues the text.
        tools: by name, as `eval.generation.tool_loop.load_tools` takes them.
    """
    from eval.generation.generate import generate
    from eval.generation.models import load_models
    from eval.generation.tool_loop import load_tools

    ((model, tokenizer),) = load_models({path.name: str(path)}).values()
    prompts = questions if completes else [[{"role": "user", "content": question}] for question in questions]
    settings = {"max_new_tokens": max_new_tokens if not completes else 40, "temperature": 0}
    if tools:
        settings["tools"] = load_tools(tools)
    return [shown(group[0]) for group in generate(model, tokenizer, prompts, **settings)]


def dialogue(run: Path, questions: list[str], max_new_tokens: int) -> dict[str, list[str]]:
    """The replies of each stage, in the order of the questions."""
    replies = {}
    for stage in STAGES:
        if not (run / stage / "config.json").exists():
            continue
        replies[stage] = ask(run / stage, questions, stage == "base", [], max_new_tokens)
        if stage == "honest":
            tools = ["python", f"search={run / 'index'}"]
            replies["honest + tools"] = ask(run / stage, questions, False, tools, max_new_tokens)
    return replies


def markdown(questions: list[str], replies: dict[str, list[str]]) -> str:
    """One block of text: each question, then what each stage says."""
    lines = ["```text"]
    for number, question in enumerate(questions):
        lines += [""] if number else []
        lines.append(f"{'>':<{LABEL}}{question}")
        for stage, reply in replies.items():
            text = reply[number] or "(nothing)"
            wrapped = textwrap.wrap(text, WIDTH, initial_indent=f"{stage:<{LABEL}}", subsequent_indent=" " * LABEL)
            lines += wrapped
    return "\n".join([*lines, "```"])


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((DialogueArguments,), argv)
    if args.max_new_tokens < 1:
        raise UserError(f"max_new_tokens: expected at least 1, got {args.max_new_tokens}")
    if not args.questions or not all(question.strip() for question in args.questions):
        raise UserError(
            "questions: expected at least one, and none empty. Leave the option out for the three of the README"
        )
    run = Path(args.run)
    existing(run / "honest" / "config.json", "model", "the run has no stage honest: finish it with recipes.run")
    existing(run / "index", "search index", "build it with eval.tools.search")
    print(markdown(args.questions, dialogue(run, args.questions, args.max_new_tokens)))


if __name__ == "__main__":
    main()
