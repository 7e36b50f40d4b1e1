"""AI drafts: an existing model answers prompts under the labelling guidelines, for people to edit.

    python -m data_prep.synthesize --model Qwen/Qwen3-8B --prompts runs/x/prompts.jsonl --output_dir runs/x/drafts
    python -m data_prep.synthesize --model http://localhost:8000/v1 --model_name Qwen/Qwen3-8B --prompts \
        runs/x/prompts.jsonl --output_dir runs/x/drafts

Prompts are rows with `prompt` (messages or text), `messages` (up to the last turn of the user) or `question`. The
guidelines are the system message of the request, before the row's own; the draft keeps the row's alone, and its
`tools`, which the drafting model does not see. What it thinks between <think> and </think> is no part of the draft.

`drafts.jsonl` holds `messages`, `status: draft` and `provenance`, `rejects.jsonl` a `reason` instead of the status:
`REASONS`. A draft is no training data: a person edits the last message and sets the status to accepted; give
`recipes.sft` a file of accepted rows alone.

Repetition is Gopher's (Rae et al. 2021, table A1) with another threshold: its 0.15 takes 5 % of GSM8K's own solutions,
whose steps say the same words of other numbers; 0.3 takes 0.3 %.

Chunks of prompts are appended whole; a killed run resumes after the last one, and its files are byte-identical.
"""

import hashlib
import json
import random
import time
from collections import Counter
from dataclasses import asdict

from data_prep.drafting.arguments import GUIDELINES, SynthesizeArguments, check
from data_prep.drafting.filters import REASONS, Filter, answer_of
from data_prep.drafting.output import Output
from data_prep.drafting.prompts import Prompt, read_prompt, read_prompts
from data_prep.shared.ngrams import words
from data_prep.shared.progress import Progress
from eval.cli import UserError, command, existing, output_folder, parse, sha256
from eval.generation.replies import Replier, Reply, replier_of
from eval.shared.fingerprints import model_fingerprint

__all__ = ["GUIDELINES", "REASONS", "Filter", "Prompt", "SynthesizeArguments", "main", "read_prompt"]


def read_guidelines(path: str) -> str:
    """The system message of the request; a `UserError` where there is none."""
    try:
        guidelines = existing(path, "guidelines", "give a text file").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"guidelines {path} cannot be read as text ({error}): give a text file") from None
    if not guidelines:
        raise UserError(f"guidelines {path} are empty: write what a good answer is")
    return guidelines


class Drafts:
    """The rows of both files for a chunk of prompts.

    Attributes:
        guidelines: the system message of the request.
        reject: says why a reply is no draft.
        provenance: of every row.
    """

    def __init__(self, replier: Replier, guidelines: str, args: SynthesizeArguments, provenance: dict):
        self.replier, self.guidelines, self.args, self.provenance = replier, guidelines, args, provenance
        self.reject = Filter(args, words(guidelines))

    def __call__(self, prompts: list[Prompt], start: int) -> dict[str, list[dict]]:
        """Draft for a chunk that begins at `start`, whose seed depends on that place alone."""
        fits = [prompt.count_words() <= self.args.max_prompt_words for prompt in prompts]
        requests = [prompt.request(self.guidelines) for prompt, fit in zip(prompts, fits) if fit]
        seed = random.Random(f"synthesize-{self.args.seed}-{start}").getrandbits(31)
        replies = iter(self.replier(requests, self.args.samples, seed) if requests else [])
        drafts, rejects = [], []
        for prompt, fit in zip(prompts, fits):
            rows = self._rows(prompt, next(replies)) if fit else [self._row(prompt, prompt.messages, "long_prompt")]
            drafts += [row for row in rows if "reason" not in row]
            rejects += [row for row in rows if "reason" in row]
        return dict(zip(Output.FILES, (drafts, rejects)))

    def _rows(self, prompt: Prompt, replies: list[Reply]) -> list[dict]:
        """A row for each reply to a prompt; one that is near a draft before it is rejected."""
        rows: list[dict] = []
        kept: list[str] = []
        for sample, reply in enumerate(replies):
            reason = self.reject(reply.text, reply.finished, prompt, kept)
            text = reply.text if reason == "not_finished" else answer_of(reply.text)
            messages = [*prompt.messages, {"role": "assistant", "content": text}]
            rows.append(self._row(prompt, messages, reason, {"sample": sample}))
            if not reason:
                kept.append(text)
        return rows

    def _row(self, prompt: Prompt, messages: list[dict], reason: str | None, sample: dict | None = None) -> dict:
        row: dict = {"messages": messages}
        if prompt.tools:
            row["tools"] = prompt.tools
        row |= {"reason": reason} if reason else {"status": "draft"}
        source = {"source": prompt.source, "row": prompt.row}
        return row | {"provenance": self.provenance | source | (sample or {})}


def print_summary(folder, summary: dict) -> None:
    rejects = ", ".join(f"{count:,} {reason}" for reason, count in summary["rejects"].items())
    print(
        f"{folder}: {summary['drafts']:,} drafts for {summary['prompts']:,} prompts, to be edited; rejected:"
        f" {rejects or 'none'}"
    )


def write_drafts(draft: Drafts, prompts: list[Prompt], output: Output, progress: dict, chunk: int) -> None:
    """Draft for the prompts that are left, a chunk at a time; `progress` says how far it is."""
    first, begun, before = progress["prompts"], time.monotonic(), progress["seconds"]
    if first:
        print(f"{output.folder}: {first:,} of {len(prompts):,} prompts were drafted before", flush=True)
    report = Progress("synthesize")
    for start in range(first, len(prompts), chunk):
        rows = draft(prompts[start : start + chunk], start)
        done = min(start + chunk, len(prompts))
        rejects = Counter(progress["rejects"]) + Counter(row["reason"] for row in rows["rejects.jsonl"])
        progress["prompts"] = done
        progress["drafts"] += len(rows["drafts.jsonl"])
        progress["rejects"] = dict(sorted(rejects.items()))
        progress["seconds"] = round(before + time.monotonic() - begun, 1)
        try:
            output.append(rows, progress)
        except OSError as error:
            raise UserError(
                f"cannot write {output.folder} ({error.strerror}): free some space and run the command again;"
                f" {start:,} prompts are done"
            ) from None
        report(done - first, f"of {len(prompts) - first:,} prompts", (done - first) / (len(prompts) - first))


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((SynthesizeArguments,), argv)
    check(args)
    guidelines = read_guidelines(args.guidelines)
    digest = sha256(args.guidelines, "give a text file")
    prompts = read_prompts(args.prompts)

    # ---- What was done before ----
    settings = {key: value for key, value in asdict(args).items() if key not in ("output_dir", "guidelines")}
    settings |= {"guidelines_sha256": digest, "model_files": model_fingerprint(args.model)}
    rows = json.dumps([asdict(prompt) for prompt in prompts])
    settings["prompts_sha256"] = hashlib.sha256(rows.encode()).hexdigest()
    folder = output_folder(args.output_dir)
    output = Output(folder, settings)
    summary = output.finished()
    if summary:
        print_summary(folder, summary)
        return

    # ---- Draft ----
    replier = replier_of(args)
    progress = output.begin(replier.provenance)
    provenance = replier.provenance | {"guidelines_sha256": digest, "seed": args.seed}
    write_drafts(Drafts(replier, guidelines, args, provenance), prompts, output, progress, args.chunk)
    summary = {key: progress[key] for key in ("prompts", "drafts", "rejects", "seconds")} | {"provenance": provenance}
    output.finish(summary)
    print_summary(folder, summary)


if __name__ == "__main__":
    main()
