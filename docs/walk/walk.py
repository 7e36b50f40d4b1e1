"""What the notebooks of the walk share: where the run is, a model by its stage, and pictures.

The run is `runs/tiny`, or what the environment variable RUN names. In Jupyter and VS Code a picture stands below its
cell; under `python docs/walk/01_crawl.py` it is written to `<run>/walk/` as a page.
"""

import functools
import gzip
import json
import os
import sys
from pathlib import Path

from markupsafe import Markup

from eval.cli import UserError

ROOT = Path(__file__).resolve().parents[2]
os.chdir(ROOT)  # Jupyter starts in the notebook's folder; paths here are the repository's
RUN = Path(os.environ.get("RUN", "runs/tiny"))
if not (RUN / "report" / "index.html").exists():
    raise UserError(f"{RUN} holds no finished run: run `make tiny` first, or let RUN name another run's folder")
STYLE = (ROOT / "eval" / "report" / "style.css").read_text()


def read(path: str) -> list[dict]:
    """The rows of a file of JSON lines in the run, gzipped or not."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(RUN / path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def values(path: str) -> dict:
    """The content of a JSON file in the run."""
    return json.loads((RUN / path).read_text())


@functools.cache
def stage(name: str) -> tuple:
    """(model, tokenizer) of a stage: base, sft, honest, ppo or grpo."""
    from eval.generation.models import load_models

    return load_models({name: str(RUN / name)})[name]


def ask(name: str, question: str, tries: int = 1, **options) -> list[str]:
    """Replies of a stage to a question; one try is greedy, several are drawn at temperature 1."""
    from eval.generation.generate import generate

    prompt = [{"role": "user", "content": question}]
    settings = {"max_new_tokens": 128, "temperature": float(tries > 1), "num_return_sequences": tries, "seed": 0}
    return [reply.text for reply in generate(*stage(name), [prompt], **{**settings, **options})[0]]


def show(name: str, *parts) -> None:
    """Show parts of a page, figures of `eval.report.figures` among them."""
    html = Markup("").join(part for part in parts if part is not None)
    page = Markup('<style>{}</style><div style="max-width: 44rem">{}</div>').format(Markup(STYLE), html)
    if "ipykernel" in sys.modules:  # Jupyter, VS Code
        from IPython.display import HTML, display

        display(HTML(page))
        return
    folder = RUN / "walk"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><title>{name}</title>{page}', encoding="utf-8")
    print(f"picture: {path}")
