"""The card that a data set has on the Hub, by whose metadata `load_dataset` finds its splits.

card = data_set_card("me/tumbler-tiny-refusals", "refusals", {"default": {"train": describe(path)}},
license="apache-2.0", origin="recipe tiny, seed 0")
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eval.cli import UserError

SIZES = {
    "n<1K": 1e3,
    "1K<n<10K": 1e4,
    "10K<n<100K": 1e5,
    "100K<n<1M": 1e6,
    "1M<n<10M": 1e7,
    "10M<n<100M": 1e8,
    "100M<n<1B": 1e9,
    "1B<n<10B": 1e10,
}
DATA_SETS = {  # name -> what it is, which module makes it, what to know before use
    "conversations": (
        (
            "Conversations that make an assistant of a base model: `messages`, and `tools` (JSON) where the assistant"
            " may call some. `kind` is the part of the mixture that a row is from."
        ),
        "data_prep.conversations",
        "The results of tool calls are real: the calls were run.",
    ),
    "refusals": (
        (
            "Conversations in which an assistant says that it does not know, and some in which it answers what it"
            " knows; `probe` is how that was found out."
        ),
        "data_prep.refusals",
        (
            "A refusal stands where this one model was wrong at each try. Another model knows other things: probe it"
            " anew."
        ),
    ),
    "preferences": (
        "Pairs of replies to a prompt, the better one `chosen`, as reward models read them.",
        "data_prep.preferences",
        (
            "Where there is a `gold_margin`, a program ranked the replies, with noise, and no person: it says how much"
            " better the chosen reply is by the program's taste, below 0 where the label is mistaken."
        ),
    ),
}


def describe(path: Path) -> dict:
    """A JSON-lines file read once: its `rows`, `columns`, `first` row and `kinds` (how many rows have each `kind`).

    Raises:
        UserError: a line is no JSON object, or there is none.
    """
    n, first, kinds = 0, {}, Counter()
    with path.open(encoding="utf-8") as file:
        for n, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                kinds[row.get("kind")] += 1
            except (ValueError, AttributeError):
                raise UserError(f"{path}, line {n} is not a JSON object: run the step that writes it again") from None
            first = first or row
    if not n:
        raise UserError(f"{path} is empty: run the step that writes it again, or leave the data set out")
    return {
        "rows": n,
        "columns": list(first),
        "first": first,
        "kinds": {kind: count for kind, count in kinds.most_common() if kind},
    }


def _size_category(rows: int) -> str:
    """The Hub's name for a number of rows."""
    return next((size for size, most in SIZES.items() if rows < most), "10B<n<100B")


def _config(name: str, parts: list[str]) -> dict:
    """A configuration as the Hub reads it: in the default one each file is a split, in others all are one."""
    if name == "default":
        splits = [{"split": part, "path": f"{part}.jsonl"} for part in parts]
        return {"config_name": name, "data_files": splits, "default": True}
    return {"config_name": name, "data_files": [{"split": "train", "path": f"{part}.jsonl"} for part in parts]}


def data_set_card(
    repo_id: str, name: str, files: dict[str, dict[str, dict]], *, license: str, origin: str, facts: Sequence[str] = ()
):
    """The card of a data set, as a `huggingface_hub.DatasetCard`; `load_dataset(repo_id)` finds the splits by its
    metadata.

    Args:
        name: a key of `DATA_SETS`.
        files: configuration -> file `<name>.jsonl` -> what `describe` says of it; in the first configuration,
            "default", a file is a split.
        origin: which run made it.
        facts: sentences about how it was made.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    what, module, before = DATA_SETS[name]
    main = files["default"]
    data = DatasetCardData(
        license=license,
        task_categories=["text-generation"],
        size_categories=[_size_category(sum(split["rows"] for split in main.values()))],
        tags=["tumbler", name],
        configs=[_config(name, list(parts)) for name, parts in files.items()],
    )
    example = json.dumps(next(iter(main.values()))["first"], ensure_ascii=False, indent=1)
    return DatasetCard.from_template(
        data,
        str(Path(__file__).with_name("data_card.jinja")),
        repo_id=repo_id,
        what=what,
        module=module,
        before=before,
        files=files,
        split=next(iter(main)),
        kinds=main.get("train", {}).get("kinds", {}),
        facts=facts,
        origin=origin,
        example=example[:1200].replace("```", "'''") + (" …" if len(example) > 1200 else ""),
    )
