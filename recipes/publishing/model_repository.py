"""What the repository of a model holds: weights, tokenizer, card, `stage.json` and results; for `recipes.push` and for
training scripts that push."""

import json
from pathlib import Path

from eval.cli import UserError
from eval.report.card import model_card
from recipes.publishing.hub import model_files, public, public_record


def on_hub(record: dict) -> dict[str, str]:
    """Path -> Hub id of what a stage says that it was made from; a record that does not say so names none."""
    return record.get("on_hub") or {}


def adapter_config(folder: Path, record: dict, base_model: str | None) -> bytes | None:
    """An adapter's config with its base model's Hub id in place of a folder of this machine; None where it names one.

    Raises:
        UserError: the base model is on no Hub.
    """
    adapter = json.loads((folder / "adapter_config.json").read_text())
    base = adapter["base_model_name_or_path"]
    if base in on_hub(record):
        return None
    if not base_model:
        raise UserError(f"{folder} is an adapter of the model in {base}, which is on no Hub: push that stage, too")
    return (json.dumps(adapter | {"base_model_name_or_path": base_model}, indent=2) + "\n").encode()


def stage_files(
    folder: Path,
    repo_id: str,
    license: str,
    run: Path | None = None,
    results: dict[str, tuple[str, dict]] | None = None,
    numbers: dict | None = None,
    **card,
) -> dict[str, Path | bytes]:
    """What the repository of a stage holds: weights, tokenizer, card, `stage.json` and the results of its evaluation.

    Args:
        run: the run's folder (default: the one around).
        results: file -> (setting, lm-eval's JSON), as `evaluations` finds them.
        numbers: of the stage, from the report's summary.
        card: further arguments of `model_card`.

    Raises:
        UserError: no weights, or a file is not as its step writes it.
    """
    files: dict[str, Path | bytes] = {**model_files(folder)}
    run, results = run or folder.resolve().parent, results or {}
    try:
        record = public_record(json.loads((folder / "stage.json").read_text()), run)
        results = {name: (setting, public_record(found, run)) for name, (setting, found) in results.items()}
        templates = [name for name in ("chat_template.jinja", "tokenizer_config.json") if name in files]
        tools = any("tools" in (folder / name).read_text() for name in templates)
        adapter = adapter_config(folder, record, card.get("base_model")) if "adapter_config.json" in files else None
        if adapter:
            files["adapter_config.json"] = adapter
        by_setting = {setting: found for setting, found in results.values()}
        card |= {"license": license, "tools": tools, "adapter": "adapter_config.json" in files}
        made = model_card(repo_id, record, by_setting, numbers or {}, **card)
    except (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: stage.json or the results are not as their step writes them ({type(error).__name__}: {error});"
            " run the step again"
        ) from None
    shown = {"stage.json": record}
    for name, (_, found) in results.items():
        shown[name] = {key: value for key, value in found.items() if key != "samples"}
    texts = {"README.md": public(f"{made}\n", run)}
    texts |= {name: json.dumps(value, indent=2) + "\n" for name, value in shown.items()}
    return files | {name: text.encode() for name, text in texts.items()}
