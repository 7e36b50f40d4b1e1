"""The door for data: published data sets go into their stage as they are, whatever their columns are called.

    data, schema, left_out = convert(load_source({"path": "teknium/OpenHermes-2.5"}), "messages",
    "teknium/OpenHermes-2.5")

A data set is recognised by its columns and, where several forms share them, by what its first row holds. What it
becomes depends on what the stage wants, its goal:

    messages   `messages` and `tools` (JSON, or null): recipes.sft, data_prep.conversations
    pair       `prompt`, `chosen`, `rejected` (messages) and `rank_distance`: recipes.reward, data_prep.preferences
    prompt     `prompt` (messages): recipes.ppo
    problem    `prompt` (messages), `verifier` and what that reads: recipes.grpo, data_prep.problems
    question   `question`, `answer` (a list), `choices`, `subject`: data_prep.refusals

A data set in a stage's own form keeps its other columns. Rows that teach nothing are left out, and counted by reason.
docs/data.md lists the sets that were tried.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from eval.cli import UserError
from eval.shared.messages import Malformed

GOALS = {  # the module that knows the forms, and the columns of the stage's own form
    "messages": ("conversations", ("messages",)),
    "pair": ("preferences", ("chosen", "rejected")),
    "prompt": ("prompts", ("prompt",)),
    "problem": ("problems", ("prompt",)),
    "question": ("questions", ("question", "answer")),
}
OPTIONAL = {
    "tools",
    "rank_distance",
    "answer",
    "tests",
    "pattern",
    "verifier",
    "choices",
    "subject",
}  # columns that a data set may lack
NAMES = {  # other names that columns have, of sets whose form is known otherwise
    "dialog": "conversation",
    "dialogue": "conversation",
    "chat": "conversation",
    "turns": "conversation",
    "inputs": "input",
    "targets": "output",
    "target": "output",
    "human": "prompt",
    "user": "prompt",
    "assistant": "response",
    "bot": "response",
    "response_j": "chosen",
    "response_k": "rejected",
    "accepted": "chosen",
    "final_ans": "final_answer",
    "correct_answer": "answer",
}
REASON = "left out because"  # a column while rows are converted


class LeftOut(Exception):
    """A row that teaches nothing; the message says why, in the same words for the same reason."""


@dataclass(frozen=True)
class Schema:
    """A form of data.

    Attributes:
        name: whose form it is.
        columns: that every data set of this form has.
        rows: what becomes of a row: none, one or several; raises `LeftOut` or `Malformed` where nothing does.
        fits: asked of a row where the columns do not tell the form.
        keeps: the row's other columns stay.
        together: `rows` takes all rows at once, and gives (what they become, why others are left out: a count each).
    """

    name: str
    columns: tuple[str, ...]
    rows: Callable[..., Iterable[dict]]
    fits: Callable[[dict], bool] = lambda row: True
    keeps: bool = False
    together: bool = False


def forms(goal: str) -> tuple[Schema, ...]:
    """The forms that serve a goal; the first that fits is taken."""
    return importlib.import_module(f"data_prep.schemas.{GOALS[goal][0]}").FORMS


def fitting(columns: Iterable[str], row: dict, goal: str) -> Schema | None:
    """The form of a data set with these columns and this row; None where none is known."""
    columns = set(columns)
    return next((form for form in forms(goal) if set(form.columns) <= columns and form.fits(row)), None)


def reasons(left_out: Counter, otherwise: str) -> str:
    """Why rows are left out and how many, the most frequent reason first; `otherwise` where none is."""
    return "; ".join(f"{count:,} left out: {reason}" for reason, count in left_out.most_common()) or otherwise


def recognise(columns: Iterable[str], row: dict, goal: str, where: str) -> Schema:
    """The form of a data set with these columns and this row.

    Raises:
        UserError: none that is known; the line shows the columns, and what is expected.
    """
    columns = list(columns)
    schema = fitting(columns, row, goal)
    if schema:
        return schema
    missing = ", ".join(name for name in GOALS[goal][1] if name not in columns)
    lacks = f"has no column {missing}" if missing else f"holds in {', '.join(GOALS[goal][1])} what is not read here"
    known = "; ".join(dict.fromkeys(", ".join(schema.columns) for schema in forms(goal)))
    raise UserError(
        f"{where} {lacks} (it has {', '.join(map(str, columns))}); expected one of these: {known}; `rename: "
        "{old: new}` of a source maps columns"
    )


def first_row(data, most: int = 100) -> dict:
    """The row that shows what a data set holds: of the first ones that with the fewest empty values."""
    return min(
        (data[i] for i in range(min(most, len(data)))),
        key=lambda row: sum(value in (None, "", []) for value in row.values()),
        default={},
    )


def features(goal: str) -> dict:
    """The types of what a goal wants: messages are JSON, so that sets with and without tool calls go together."""
    from datasets import Json, List, Value

    turns, word = List(Json()), Value("string")
    return {
        "messages": {"messages": turns, "tools": word},
        "pair": {"prompt": turns, "chosen": turns, "rejected": turns, "rank_distance": Value("int64")},
        "prompt": {"prompt": turns},
        "problem": {"prompt": turns, "answer": word, "tests": word, "pattern": word, "verifier": word},
        "question": {"question": word, "answer": List(word), "choices": List(word), "subject": word},
    }[goal]


def converted(schema: Schema, row: dict, **options) -> tuple[list[dict], str | None]:
    """(What becomes of a row, why nothing does.)"""
    try:
        return list(schema.rows(row, **options)), None
    except (LeftOut, Malformed) as error:
        return [], str(error)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # a row unlike the others
        return [], f"it does not have what {schema.name} has ({type(error).__name__})"


def with_usual_names(data, goal: str):
    """The data set with its columns in small letters and by their usual names, where a form fits only then."""
    row = first_row(data)
    if fitting(data.column_names, row, goal):
        return data
    for others in ({}, NAMES):
        names = {column: column.lower().strip().replace(" ", "_") for column in data.column_names}
        names = {column: others.get(name, name) for column, name in names.items()}
        renamed = {names[column]: value for column, value in row.items()}
        if len(set(names.values())) == len(names) and fitting(names.values(), renamed, goal):
            return data.rename_columns({column: name for column, name in names.items() if name != column})
    return data


def convert(data, goal: str, where: str, **options) -> tuple:
    """(The data set in the form that the goal wants, its schema's name, {why rows are left out: how many}).

    Args:
        data: a `datasets.Dataset`.
        goal: a key of `GOALS`.
        where: what it is called in errors.
        options: for the forms of this goal: `suffix` of problems, `kind` of pairs.

    Raises:
        UserError: no form is known, or no row is left.
    """
    from datasets import Dataset, Features

    data = with_usual_names(data, goal)
    schema = recognise(data.column_names, first_row(data), goal, where)
    if schema.together:
        rows, left_out = schema.rows(list(data), **options)
        made = []
        if rows:
            used = {name for row in rows for name, value in row.items() if value is not None}
            names = {name: kind for name, kind in features(goal).items() if name in used}
            made = Dataset.from_list(_only(rows, names), features=Features(names))
    else:
        made, left_out = _each(data, schema, goal, options)
    if not len(made):
        why = reasons(Counter(left_out), "nothing comes of them")
        raise UserError(f"{where}: none of its {len(data):,} rows can be used ({schema.name}): {why}")
    return made, schema.name, Counter(left_out)


def _only(rows: Iterable[dict], names: Iterable[str]) -> list[dict]:
    """The rows with these columns, None where one lacks it."""
    return [dict(zip(names, map(row.get, names))) for row in rows]


def _each(data, schema: Schema, goal: str, settings: dict) -> tuple:
    """`convert` row by row."""
    from datasets import Features, Value

    wanted = features(goal)
    if schema.keeps:
        wanted = {
            name: _like(data, name, kind)
            for name, kind in wanted.items()
            if name in data.column_names or name not in OPTIONAL
        }
        wanted = {name: kind for name, kind in data.features.items() if name not in wanted} | wanted
    names = wanted | {REASON: Value("string")}

    def work(batch: dict) -> dict:
        out = {name: [] for name in names}
        for values in zip(*batch.values()):
            row = dict(zip(batch, values))
            rows, reason = converted(schema, row, **settings)
            for one in rows or [{REASON: reason or "nothing comes of it"}]:
                one = (row if schema.keeps and rows else {}) | one
                for name, column in out.items():
                    column.append(one.get(name))
        return out

    # a cache of datasets' does not know when the code of a form has changed
    options = {"batched": True, "load_from_cache_file": False, "desc": f"read as {schema.name}"}
    made = data.map(work, remove_columns=data.column_names, features=Features(names), **options)
    empty = [
        name
        for name in OPTIONAL & wanted.keys()
        if not schema.keeps and made.data.column(name).null_count == len(made)
    ]
    reasons = made[REASON][:]
    left_out = Counter(reason for reason in reasons if reason is not None)
    if left_out:
        made = made.select([i for i, reason in enumerate(reasons) if reason is None])
    return made.remove_columns([REASON, *empty]), left_out


def _like(data, name: str, kind):
    """The type of a column that a stage's own form has: messages as JSON, else what it was."""
    from datasets import Json, List, Value

    if isinstance(kind, List) and isinstance(kind.feature, Json):
        return kind
    if name == "tools" or (name == "answer" and not isinstance(data.features.get(name), List)):
        return Value("string")
    return data.features.get(name, kind)
