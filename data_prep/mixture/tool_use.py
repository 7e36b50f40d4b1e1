"""Questions that a call answers: the part of kind `tool_use` runs the calls, and what they returned decides."""

import inspect
from collections.abc import Callable

from data_prep.schemas.conversations import turns
from data_prep.shared.progress import Progress
from eval.cli import UserError

TIME_LIMIT = 60.0  # seconds of one call


def run_calls(calls: list[tuple[str, str]], functions: dict[str, Callable], what: str) -> list[str]:
    """The results of (tool, argument), in order, some at a time."""
    from eval.generation.tool_loop import Runner

    runner, progress = Runner(functions, TIME_LIMIT), Progress(what)
    results: dict[int, str] = {}  # by the call's place
    for at, (tool, argument) in enumerate(calls):
        runner.start(at, tool, {argument_of(functions[tool]): argument})
    while len(results) < len(calls):
        results |= {at: text for at, _, text in runner.done(wait=True)}
        progress(len(results), "calls", len(results) / len(calls))
    runner.close()
    return [results[at] for at in range(len(calls))]


def argument_of(function: Callable) -> str:
    """The name of its first argument; a `UserError` where it has none, or needs more."""
    first, *others = [*inspect.signature(function).parameters.values()] or [None]
    if first is None or any(other.default is other.empty for other in others):
        raise UserError(
            f"the tool {function.__name__} cannot be called with a row's query: tool_use takes functions of one"
            " argument"
        )
    return first.name


def check_row(row: dict, functions: dict[str, Callable], part: str) -> None:
    """Raises `UserError` for a row that lacks a column, or calls a tool that the part does not have."""
    missing = [column for column in ("question", "tool", "query", "reply") if not isinstance(row.get(column), str)]
    if missing:
        raise UserError(f"part {part}: a row has no {missing[0]}; tool_use reads question, tool, query, reply")
    evidence, otherwise = row.get("evidence"), row.get("otherwise")
    listed = isinstance(evidence or [], list)
    if not listed or not all(isinstance(text, str) for text in [*(evidence or []), otherwise or ""]):
        problem = (
            f"part {part}: evidence must be a list of texts and otherwise a text, but in a row they are"
            f" {evidence!r} and {otherwise!r}"
        )
        raise UserError(problem[:300])
    for turn in row.get("then") or []:
        if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in ("question", "reply")):
            raise UserError(
                f"part {part}: then must be a list of {{question, reply}}, but in a row there is {turn!r}"[:300]
            )
    if row["tool"] not in functions:
        raise UserError(f"part {part}: a row calls {row['tool']}, but the part's tools are {', '.join(functions)}")


def with_call(row: dict, result: str, argument: str) -> list[dict] | str:
    """The conversation of a row of tool_use, or why there is none."""
    reply, then = row["reply"].replace("{result}", result), row.get("then") or []
    if any(text not in result for text in row.get("evidence") or []):
        reply, then = row.get("otherwise"), []
        if not reply:
            return "the result lacks the evidence"
    elif row.get("verifier") and not is_right(row, reply):
        return "the reply is wrong"
    call = {"type": "function", "function": {"name": row["tool"], "arguments": {argument: row["query"]}}}
    asked = [*turns(("user", row["question"])), {"role": "assistant", "content": "", "tool_calls": [call]}]
    answered = [{"role": "tool", "name": row["tool"], "content": result}, *turns(("assistant", reply))]
    more = [message for turn in then for message in turns(("user", turn["question"]), ("assistant", turn["reply"]))]
    return [*asked, *answered, *more]


def is_right(row: dict, reply: str) -> bool:
    """Whether the row's verifier accepts the reply."""
    from eval.verifiers import get_verifier

    columns = {column: value for column, value in row.items() if column != "completion"}
    try:
        score = get_verifier(row["verifier"])(reply, **columns)
    except (TypeError, AttributeError) as error:
        raise UserError(
            f"the verifier {row['verifier']} cannot judge the row with the question {row['question'][:80]!r}"
            f" ({error}): give it the columns that it reads, such as answer"
        ) from None
    return score == 1
