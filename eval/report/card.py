"""The card that a model has on the Hub: metadata that the Hub reads, and what a person needs to use and to judge it.

    card = model_card("me/tumbler-tiny-sft", record, {"": results}, rows, license="apache-2.0")

It is made of the stage's `stage.json`, of lm-eval's results and of the report's summary; without the last two it says
that nothing is measured. The same input gives the same card, byte for byte. `python -m recipes.push` writes and pushes
it; the card of a data set: `eval.report.data_card`.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from eval.estimates import finite, half_width
from eval.lm_harness.tasks import MAIN
from eval.report.figures import duration
from eval.report.stages import loader as loader_of
from eval.report.stages import method_of
from eval.report.summary import MEASURES, NESTED

HERE = Path(__file__).parent
MADE_UP = {
    "facts_rare": "about what it has read once or twice",
    "facts_unseen": "about people it has never read of",
    "facts_absent": "about people of whom no document tells, either",
}


def scores(results: dict, setting: str = "") -> list[dict]:
    """Every score in lm-eval's JSON as {task, setting, metric, value, stderr, n, version, shots, higher, main}; a
    group has the n of its tasks together.

    Raises:
        KeyError: a score without its n.
    """

    def count(task: str) -> int:
        inside = results.get("group_subtasks", {}).get(task)
        return sum(map(count, inside)) if inside else results["n-samples"][task]["effective"]

    rows = []
    for task, row in results.get("results", {}).items():
        for key in (key for key, value in row.items() if "," in key and "_stderr," not in key and finite(value)):
            metric, _, way = key.partition(",")
            stderr = row.get(f"{metric}_stderr,{way}")
            rows.append(
                {
                    "task": task,
                    "setting": setting,
                    "metric": metric if way == "none" else f"{metric} ({way})",
                    "value": row[key],
                    "stderr": stderr if finite(stderr) else None,
                    "n": count(task),
                    "version": results.get("versions", {}).get(task),
                    "shots": results.get("n-shot", {}).get(task),
                    "higher": results.get("higher_is_better", {}).get(task, {}).get(metric, True),
                    "main": key in MAIN,
                }
            )
    return rows


def measures(numbers: dict) -> list[dict]:
    """What the report's summary measured of a stage beside its tasks, in the form of `scores`."""
    rows = []
    for name, m in numbers.items():
        if name not in NESTED:
            m = m if isinstance(m, dict) else {"value": m}
            rows.append(
                {
                    "task": name,
                    "setting": "",
                    "metric": name,
                    "value": m["value"],
                    "stderr": m.get("stderr"),
                    "n": m.get("n"),
                    "version": None,
                    "shots": None,
                    "higher": None,
                    "main": False,
                }
            )
    return rows


def with_interval(measure: dict) -> str:
    """'0.914 ± 0.038 (n = 210)', with half the 95 % interval."""
    half = half_width(measure) if measure.get("n") else None
    return (
        f"{measure['value']:.3f}"
        + (f" ± {half:.3f}" if half is not None else "")
        + (f" (n = {measure['n']})" if measure.get("n") else "")
    )


def limits(numbers: dict, rows: list[dict], fall: dict | None = None) -> list[str]:
    """What the evaluation found wanting, a sentence each.

    Args:
        numbers: of the stage, from the report's summary.
        fall: `Experiments.fall` of a PPO run that went on past its peak.
    """
    return task_limits(numbers, rows) + reward_limits(numbers, fall)


def task_limits(numbers: dict, rows: list[dict]) -> list[str]:
    """What the tasks found wanting."""
    sentences, tasks = [], numbers.get("tasks", {})
    for task, question in MADE_UP.items():
        made_up = numbers.get("facts", {}).get(task, {}).get("made_up")
        if made_up and made_up["value"] > 0:
            sentences.append(f"Asked {question}, it makes an answer up in a share of {with_interval(made_up)}.")
    worse = worse_at_once(tasks)
    if worse:
        sentences.append(
            f"Made to answer at once instead of step by step, it is right less often: {', '.join(worse)}."
        )
    low = [
        f"`{row['task']}` {with_interval(row)}"
        for row in rows
        if row["main"] and row["higher"] and not row["setting"] and row["value"] < 0.5
    ]
    if low:
        sentences.append(f"Less than half right: {', '.join(low)}.")
    ended = tasks.get("end_token")
    if ended and ended["value"] < 1:
        sentences.append(f"Not all of its greedy replies end by themselves: {with_interval(ended)} do.")
    return sentences


def worse_at_once(tasks: dict) -> list[str]:
    """The tasks that are solved less often at once than step by step, beyond both intervals."""
    worse = []
    for task, steps in tasks.items():
        at_once = tasks.get(f"{task}_at_once")
        if not at_once:
            continue
        margin = math.hypot(half_width(steps) or 0, half_width(at_once) or 0)
        if steps["value"] - at_once["value"] > margin:
            worse.append(f"`{task}` {with_interval(at_once)} instead of {with_interval(steps)}")
    return worse


def reward_limits(numbers: dict, fall: dict | None) -> list[str]:
    """What is known of the limits of a reward, as a model of it or as what was trained on."""
    sentences = []
    near = numbers.get("places_apart", {}).get("1")
    if near:
        sentences.append(
            f"Of two replies that are neighbours in the ranking it prefers the better one: {with_interval(near)}."
        )
    moved = numbers.get("kl_to_reference")
    if moved:
        sentences.append(
            f"It has learned what one reward model likes, {moved['value']:.1f} nats a reply (KL, n = {moved['n']})"
            " from where it started; that is not what people like."
        )
    if fall:
        sentences.append(
            "A reward that is pursued for long is overdone: in a longer PPO run on this reward model a judge that was"
            f" not trained on rose from {fall['start']:.2f} to {fall['best']:.2f} (step {fall['step']}) and fell to"
            f" {fall['last']:.2f} (n = {fall['n']} prompts)."
        )
    return sentences


def procedure(record: dict) -> dict[str, str]:
    """The training of a `stage.json`: what -> how much."""
    config, each = record["config"], record["config"].get
    batch = (
        (each("per_device_train_batch_size") or 1) * (each("gradient_accumulation_steps") or 1) * record["world_size"]
    )
    optimizer = (
        f"Muon at {each('muon_learning_rate')}, AdamW at {config['learning_rate']}"
        if each("optimizer") == "muon"
        else f"{each('optim')} at {config['learning_rate']}"
    )
    adapter = (
        f"LoRA of rank {each('lora_r')}" + (" on 4-bit weights" if each("load_in_4bit") else "")
        if each("use_peft")
        else None
    )
    lines = {
        "method": method_of(record) + (f", {adapter}" if adapter else ""),
        "steps": f"{record['steps']:,} of {batch:,} rows",
        "tokens": f"{record['tokens']:,.0f}" if record.get("tokens") else None,
        "time": duration(record["seconds"]),
        "speed": f"{record['tokens_per_second']:,.0f} tokens/s" if record.get("tokens_per_second") else None,
        "device": f"{record['world_size']} × {record['device']}",
        "peak memory of a process": f"{record['peak_memory_gb']:.2f} GiB",
        "optimizer": f"{optimizer}, {str(each('lr_scheduler_type'))}",
        "precision": "bf16" if each("bf16") else "fp16" if each("fp16") else str(each("dtype") or "float32"),
        "seed": str(each("seed")),
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "cost": f"{record['cost']:.2f}" if record.get("cost") else None,
    }
    return {what: text for what, text in lines.items() if text}


def sorted_rows(results: dict[str, dict], numbers: dict) -> list[dict]:
    """The scores of all settings and the other measures, in the order of the report's table."""
    rows = []
    for setting, scored in results.items():
        rows += scores(scored, setting)
    rows += measures(numbers)
    order = {task: i for i, task in enumerate(MEASURES)}
    rows.sort(key=lambda row: (row["setting"], order.get(row["task"].removesuffix("_base"), len(order))))
    return rows


def eval_result(row: dict, task_type: str):
    """A row as the Hub's metadata has it."""
    from huggingface_hub import EvalResult

    settings = {"n": row["n"], "task_version": row["version"], "num_fewshot": row["shots"]}
    settings = {key: value for key, value in settings.items() if value is not None}
    return EvalResult(
        task_type=task_type,
        dataset_type=row["task"],
        dataset_name=row["task"],
        dataset_config=row["setting"] or None,
        dataset_args=settings or None,
        metric_type=row["metric"],
        metric_value=row["value"],
        metric_args={"stderr": row["stderr"]} if row["stderr"] is not None else None,
    )


def metadata(repo_id: str, record: dict, rows: list[dict], adapter: bool, *, license, base_model, datasets):
    """What the Hub reads of the card, as a `huggingface_hub.ModelCardData`."""
    from huggingface_hub import ModelCardData

    method = method_of(record).lower().replace(" ", "-")
    task = "text-generation" if loader_of(record) == "AutoModelForCausalLM" else "text-classification"
    return ModelCardData(
        license=license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=task,
        base_model=base_model,
        datasets=datasets or None,
        tags=["tumbler", method, *(["lora"] if adapter else [])],
        model_name=repo_id.split("/")[-1],
        eval_results=[eval_result(row, task) for row in rows] or None,
    )


def model_card(
    repo_id: str,
    record: dict,
    results: dict[str, dict],
    numbers: dict,
    *,
    license: str,
    base_model: str | None = None,
    datasets: Sequence[str] = (),
    tools: bool = False,
    adapter: bool = False,
    fall: dict | None = None,
):
    """The card of a stage's model, as a `huggingface_hub.ModelCard`.

    Args:
        record: the stage's `stage.json`.
        results: lm-eval's JSON by setting: "" for the model alone, else with what it was helped.
        numbers: of the stage, from the report's summary.
        base_model: Hub id of what it was trained from.
        datasets: Hub ids of what it was trained on.
        tools: its chat template has a place for tools.
        adapter: it is an adapter of `base_model`.
        fall: as in `limits`.

    Raises:
        KeyError, TypeError, ValueError: the files are not as the stage and `eval.run` write them.
    """
    from huggingface_hub import ModelCard

    rows = sorted_rows(results, numbers)
    data = metadata(repo_id, record, rows, adapter, license=license, base_model=base_model, datasets=list(datasets))
    prompts = record["config"].get("sample_prompts") or ["Once upon a time"]
    return ModelCard.from_template(
        data,
        str(HERE / "model_card.jinja"),
        repo_id=repo_id,
        record=record,
        method=method_of(record),
        loader=loader_of(record),
        base=base_model,
        rows=rows,
        labels=MEASURES,
        with_interval=with_interval,
        prompt=json.dumps(prompts[0]),
        procedure=procedure(record),
        limits=limits(numbers, rows, fall),
        tools=tools,
        data_sets=data.datasets or [],
        sources=record["datasets"],
    )
