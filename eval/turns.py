"""Right answers by turn: questions of several kinds, one after the other in one conversation.

    python -m eval.turns --models honest=runs/tiny/honest --tools search=runs/tiny/index python \
        --questions names_choice=runs/tiny/world/eval/facts_unseen.jsonl \
        refusal=runs/tiny/world/eval/facts_absent.jsonl final_number=runs/tiny/world/eval/arithmetic.jsonl \
        --output runs/mine/turns.json

Rows have `question` and what the verifier of their file reads. All models get the same questions in the same order;
the model's own replies, its calls and their results stay in the conversation, and it answers greedily. For each turn
the share that is right, with its standard error and n, and the same for each file over all turns. A conversation that
fills the model's positions ends there, so that n falls.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, named_folders, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy, half_width
from eval.second_tries import verdicts

TIME_LIMIT = 60.0  # seconds of one call


@dataclass
class TurnsArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each chat model"})
    questions: list[str] = field(metadata={"help": "verifier=file.jsonl of each kind of question"})
    output: str = field(metadata={"help": ".json file to write"})
    tools: list[str] = field(
        default_factory=list, metadata={"help": "python, search=<index folder> or module:function (default: none)"}
    )
    conversations: int = field(default=100, metadata={"help": "conversations"})
    turns: int = field(default=5, metadata={"help": "questions of a conversation"})
    max_new_tokens: int = field(default=192, metadata={"help": "of a turn, its results included"})
    max_result_tokens: int = field(default=80, metadata={"help": "of one result"})
    seed: int = field(default=0, metadata={"help": "of which questions are asked"})


def read_questions(sources: list[str]) -> dict[str, list[dict]]:
    """The rows of each file, by its name, with their `verifier`.

    Raises:
        UserError: no verifier=file, two files of one name, or a row that the verifier cannot judge.
    """
    kinds: dict[str, list[dict]] = {}
    for source in sources:
        verifier, _, path = source.partition("=")
        kind = Path(path).stem
        if not path or kind in kinds:
            raise UserError(
                f"--questions takes verifier=file.jsonl, each file name once, but got: {' '.join(sources)}"
            )
        rows = read_jsonl(path, ("question",), "python -m data_prep.world writes such rows")
        kinds[kind] = [row | {"verifier": verifier} for row in rows]
        unjudged = [number for number, row in enumerate(kinds[kind], 1) if verdicts(row, [""])[0] is None]
        if unjudged:
            raise UserError(f"{path}, line {unjudged[0]}: {verifier} cannot judge it")
    return kinds


def plan(kinds: dict[str, list[dict]], conversations: int, turns: int, seed: int) -> list[list[tuple[str, dict]]]:
    """What is asked: for each turn, (kind, row) of each conversation."""
    rng = random.Random(seed)
    asked = []
    for _ in range(turns):
        drawn = [rng.choice(list(kinds)) for _ in range(conversations)]
        asked.append([(kind, rng.choice(kinds[kind])) for kind in drawn])
    return asked


def hold(model, tokenizer, asked: list[list[tuple[str, dict]]], tools: list, limits: dict) -> list[list[tuple]]:
    """Hold the conversations; for each turn (kind, 1.0 where the reply is right) of those that had room for it."""
    from eval.generation.generate import encode, generate
    from eval.generation.tool_loop import Toolbox

    rendering = Toolbox(tokenizer, tools, limits["max_result_tokens"], TIME_LIMIT).rendering if tools else {}
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None) or float("inf")
    histories: dict[int, list[dict]] = {number: [] for number in range(len(asked[0]))}
    judged = []
    for questions in asked:
        prompts = {
            n: [*past, {"role": "user", "content": questions[n][1]["question"]}] for n, past in histories.items()
        }
        lengths = map(len, encode(tokenizer, list(prompts.values()), **rendering))
        going_on = [n for n, length in zip(prompts, lengths) if length + limits["max_new_tokens"] <= room]
        drawn = generate(
            model,
            tokenizer,
            [prompts[n] for n in going_on],
            tools=tools,
            temperature=0.0,
            tool_time_limit=TIME_LIMIT,
            **limits,
        )
        replies = {n: reply for n, (reply,) in zip(going_on, drawn)}
        judged.append([(questions[n][0], verdicts(questions[n][1], [reply.text])[0]) for n, reply in replies.items()])
        histories = {
            n: prompts[n] + (reply.messages or [{"role": "assistant", "content": reply.text}])
            for n, reply in replies.items()
        }
    return judged


def measure(judged: list[list[tuple]]) -> dict:
    """The shares by turn, up to the last one that a conversation had room for, and by kind of question."""
    by_kind = defaultdict(list)
    for turn in judged:
        for kind, right in turn:
            by_kind[kind].append(right)
    turns = [accuracy([right for _, right in turn]) for turn in judged if turn]
    return {"turns": turns, "questions": {kind: accuracy(hits) for kind, hits in sorted(by_kind.items())}}


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((TurnsArguments,), argv)
    models = named_folders(args.models)
    if min(args.conversations, args.turns, args.max_new_tokens, args.max_result_tokens) < 1:
        raise UserError("conversations, turns, max_new_tokens and max_result_tokens must be at least 1")
    asked = plan(read_questions(args.questions), args.conversations, args.turns, args.seed)
    output_file(args.output, [*models.values(), *(source.partition("=")[2] for source in args.questions)])
    from eval.generation.models import load_models
    from eval.generation.tool_loop import load_tools

    tools = load_tools(args.tools)
    limits = {"max_new_tokens": args.max_new_tokens, "max_result_tokens": args.max_result_tokens}
    results = {}
    for name, folder in models.items():
        model, tokenizer = load_models({name: folder})[name]
        results[name] = measure(hold(model, tokenizer, asked, tools, limits))
        for number, share in enumerate(results[name]["turns"], 1):
            print(
                f"{name}, turn {number}: {share['value']:.3f} ± {half_width(share):.3f} (n = {share['n']})", flush=True
            )
    settings = {"asked": args.questions, "tools": args.tools, "seed": args.seed}
    write_json(args.output, {**settings, "models": results})


if __name__ == "__main__":
    main()
