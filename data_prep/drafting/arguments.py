"""The arguments of `data_prep.synthesize`, and what they must be."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError

GUIDELINES = Path(__file__).parents[1] / "labelling" / "labelling_guidelines.md"


@dataclass
class SynthesizeArguments:
    model: str = field(
        metadata={
            "help": (
                "drafting model: folder, Hub id, or URL of an OpenAI-compatible endpoint up to /v1 (key:"
                " OPENAI_API_KEY)"
            )
        }
    )
    prompts: list[str] = field(metadata={"help": "files, globs, folders, Hub ids, or sources as JSON"})
    output_dir: str = field(metadata={"help": "folder to write"})
    model_name: str | None = field(default=None, metadata={"help": "of the model behind the endpoint"})
    revision: str | None = field(default=None, metadata={"help": "of a model on the Hub"})
    guidelines: str = field(default=str(GUIDELINES), metadata={"help": "text file, the system message of the request"})
    samples: int = field(default=1, metadata={"help": "drafts a prompt"})
    temperature: float = field(default=0.7, metadata={"help": "of sampling; 0 is greedy"})
    max_new_tokens: int = field(default=1024, metadata={"help": "of a draft, its thinking included"})
    max_prompt_words: int = field(default=2000, metadata={"help": "prompts with more are not asked"})
    max_words: int = field(default=600, metadata={"help": "drafts with more are rejected"})
    max_repeated: float = field(default=0.3, metadata={"help": "share of a draft in repeated 5-grams; 1 allows all"})
    max_copied: float = field(
        default=0.9,
        metadata={
            "help": (
                "share of a draft's 13-grams from the prompt or the guidelines; 1, for texts to be revised, allows all"
            )
        },
    )
    max_similar: float = field(
        default=0.8,
        metadata={"help": "share of 5-grams (Jaccard) that two drafts of a prompt have in common; 1 allows all"},
    )
    batch_size: int = field(default=64, metadata={"help": "drafts at a time, of a model that runs here"})
    backend: str = field(default="transformers", metadata={"help": "of a model that runs here: transformers or vllm"})
    chunk: int = field(default=64, metadata={"help": "prompts whose drafts are written together"})
    seed: int = field(default=0, metadata={"help": "of sampling"})


def check(args: SynthesizeArguments) -> None:
    """Raises `UserError` for values that are out of range."""
    for key in ("samples", "max_new_tokens", "max_prompt_words", "max_words", "batch_size", "chunk"):
        if getattr(args, key) < 1:
            raise UserError(f"{key} must be at least 1, but is {getattr(args, key)}")
    for key in ("max_repeated", "max_copied", "max_similar"):
        if not 0 < getattr(args, key) <= 1:
            raise UserError(f"{key} must lie above 0 and at most at 1, but is {getattr(args, key)}")
    if not 0 <= args.temperature < math.inf:
        raise UserError(
            f"samples must be at least 1 and temperature at least 0, but are {args.samples} and {args.temperature}"
        )
    if not args.prompts:
        raise UserError("prompts needs at least one data set")
    if args.temperature == 0 and args.samples > 1:
        raise UserError(
            f"at temperature 0 all {args.samples} samples would be the same: raise temperature, or take one sample"
        )
