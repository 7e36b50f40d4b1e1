"""Look inside a language model: a page that shows how it comes to its next token.

    python -m eval.probes.inside --models base=runs/tiny/base sft=runs/tiny/sft honest=runs/tiny/honest --base base
    python -m eval.probes.inside --models sft=runs/tiny/sft --text "Who is Orson Kovats?" --output_dir runs/look

The first command serves the page: any text, and each drawn token is appended and the model reads on. It has no
password: `--host` other than this machine lets in whoever reaches it, and it needs Gradio (the extra `chat`). The
second writes `inside.html`, one file that needs no network, with the text and `--draws` tokens drawn beforehand.

Shown are the tokens; what each layer would say next (the logit lens, `eval.probes.lens`); where each head looks; the
next-token distribution at any temperature; and the model's arithmetic (`eval.probes.anatomy`). A base model (`--base`)
goes on from the text, a chat model answers it as a user's message. Works with causal models of transformers; one
without attention shows no heads.
"""

import os
import time
from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError, command, named_folders, output_folder, parse

TEXT = "Who is Orson Kovats?"
PAGE = "inside.html"


@dataclass
class InsideArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each model"})
    text: str = field(default=TEXT, metadata={"help": "what the models read first"})
    base: list[str] = field(
        default_factory=list, metadata={"help": "names of the models that complete text, not chat"}
    )
    output_dir: str | None = field(default=None, metadata={"help": "folder for inside.html, instead of serving"})
    draws: int = field(default=12, metadata={"help": "with output_dir: how many tokens are drawn beforehand"})
    temperature: float = field(default=1.0, metadata={"help": "of these draws, and where the slider begins"})
    rows: int = field(default=13, metadata={"help": "layers that the lens reads, at most; more take longer"})
    seed: int = field(default=0, metadata={"help": "of the draws"})
    host: str = field(default="127.0.0.1", metadata={"help": "address to listen at"})
    port: int = field(default=7861, metadata={"help": "port to listen at"})


class Looker:
    """The models of a page.

    Args:
        loaded: name -> (model, tokenizer), as `eval.generation.models.load_models` gives.
        base: the names of those that complete text.
    """

    def __init__(self, loaded: dict[str, tuple], base: list[str], rows: int = 13, seed: int = 0):
        import torch

        from eval.probes.lens import Lens

        self.lenses = {name: Lens(model, tokenizer, rows) for name, (model, tokenizer) in loaded.items()}
        self.base, self.generator = base, torch.Generator().manual_seed(seed)

    def ids(self, name: str, text: str) -> list[int]:
        """The tokens of a text, or of a conversation that begins with it; what it spells is never a control token.

        Raises:
            UserError: no such model, no text, or more tokens than the page shows.
        """
        from eval.generation.generate import encode

        if name not in self.lenses:
            raise UserError(f"there is no model {name[:60]!r}: choose one of {', '.join(self.lenses)}")
        prompt = text if name in self.base else [{"role": "user", "content": text}]
        return self.checked(name, encode(self.lenses[name].tokenizer, [prompt])[0])

    def checked(self, name: str, ids: list[int]) -> list[int]:
        """The tokens, if the model can read them.

        Raises:
            UserError: no such model, ids that it has not, too many or none.
        """
        from eval.probes.lens import MOST_TOKENS

        if name not in self.lenses:
            raise UserError(f"there is no model {name[:60]!r}: choose one of {', '.join(self.lenses)}")
        lens = self.lenses[name]
        positions = getattr(lens.config, "max_position_embeddings", None) or MOST_TOKENS
        most = min(MOST_TOKENS, positions)
        if not 0 < len(ids) <= most:
            raise UserError(f"these are {len(ids)} tokens, but a look takes 1 to {most}: give a shorter text")
        if max(ids) >= lens.vocabulary:
            raise UserError(f"ids must lie between 0 and {lens.vocabulary - 1:,}, but one is {max(ids)}")
        return ids

    def look(self, name: str, ids: list[int]) -> dict:
        """What the page shows of these tokens, with the seconds that it took."""
        begun = time.perf_counter()
        shown = self.lenses[name].look(ids)
        return {"model": name, **shown, "seconds": round(time.perf_counter() - begun, 3)}

    def draw(self, name: str, ids: list[int], temperature: float) -> list[int]:
        """The tokens and one more, drawn at a temperature."""
        return self.checked(name, [*ids, self.lenses[name].draw(ids, temperature, self.generator)])

    def about(self, name: str, text: str) -> dict:
        """The model's arithmetic, and what the lens says of itself."""
        from eval.probes.anatomy import anatomy

        lens = self.lenses[name]
        return {"note": lens.note, "base": name in self.base, **anatomy(lens.model, self.ids(name, text))}

    def recorded(self, name: str, text: str, draws: int, temperature: float) -> dict:
        """A look at a text and at tokens drawn behind it; `given` is the number of tokens of the text."""
        from eval.probes.lens import MOST_TOKENS

        given = ids = self.ids(name, text)
        for _ in range(min(draws, MOST_TOKENS - len(given))):
            ids = self.draw(name, ids, temperature)
        return {**self.look(name, ids), "given": len(given)}


def page(looker: Looker, args: InsideArguments, served: bool) -> str:
    """The page as HTML: complete, or as the server gives it, which is asked for each look."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    from eval.probes.lens import TEMPERATURES

    looks: dict[str, Any] = {}
    start = {
        "served": served,
        "text": args.text,
        "temperature": args.temperature,
        "temperatures": TEMPERATURES,
        "models": {name: looker.about(name, args.text) for name in looker.lenses},
        "looks": looks,
    }
    if not served:
        for name in looker.lenses:
            looks[name] = looker.recorded(name, args.text, args.draws, args.temperature)
    loader = ChoiceLoader([PackageLoader("eval.probes", "."), PackageLoader("eval.report", ".")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # the order of the models is that of the command
    return environment.get_template(PAGE).render(start=start)


def app(looker: Looker, args: InsideArguments):
    """The page and what it calls, to be served at `args.host`."""
    from typing import Annotated

    from fastapi.responses import HTMLResponse
    from gradio import Server
    from pydantic import BaseModel, Field

    from eval.shared.web_guard import guard

    class Look(BaseModel):
        model: str
        text: str = Field(default="", max_length=20_000)
        ids: list[Annotated[int, Field(ge=0)]] = []

    class Toss(BaseModel):
        model: str
        ids: list[Annotated[int, Field(ge=0)]]
        temperature: float = Field(ge=0, le=2)

    server = Server(title="Tumbler: look inside", docs_url=None, redoc_url=None, openapi_url=None)
    html = page(looker, args, served=True)

    @server.get("/", response_class=HTMLResponse)
    def index():
        return html

    @server.post("/look")
    def look(asked: Look):
        """A look at tokens, or at a text, of which `given` is the number of tokens."""
        ids = looker.checked(asked.model, asked.ids) if asked.ids else looker.ids(asked.model, asked.text)
        return looker.look(asked.model, ids)

    @server.post("/toss")
    def toss(asked: Toss):
        ids = looker.checked(asked.model, asked.ids)
        return looker.look(asked.model, looker.draw(asked.model, ids, asked.temperature))

    guard(server, args.host)
    return server


def serve(looker: Looker, args: InsideArguments) -> None:
    """Open the page until Ctrl-C.

    Raises:
        UserError: Gradio is missing, or the address cannot be listened at.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        server = app(looker, args)
    except ImportError as error:
        raise UserError(
            f"the page needs Gradio ({error}): pip install -c constraints.txt -e '.[chat]', or write a file with"
            " --output_dir"
        ) from None
    try:
        print(f"{', '.join(looker.lenses)}: http://{args.host}:{args.port} (Ctrl-C ends)", flush=True)
        server.launch(server_name=args.host, server_port=args.port, share=False, quiet=True)
    except OSError as error:
        raise UserError(f"cannot listen at {args.host}:{args.port} ({error}): choose another --port") from None


def check(args: InsideArguments) -> dict[str, str]:
    """The models' folders by name.

    Raises:
        UserError: an argument has no meaning.
    """
    models = named_folders(args.models, args.base)
    if not args.text.strip():
        raise UserError("the text is empty: give one with --text")
    if not 0 <= args.temperature <= 2:
        raise UserError(f"temperature must lie between 0 and 2, but is {args.temperature}")
    if args.draws < 0 or args.rows < 2:
        raise UserError(f"draws must be at least 0 and rows at least 2, but they are {args.draws} and {args.rows}")
    if not 0 < args.port < 65536:
        raise UserError(f"port must lie between 1 and 65535, but is {args.port}")
    return models


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((InsideArguments,), argv)
    models = check(args)
    folder = output_folder(args.output_dir) if args.output_dir is not None else None
    from eval.generation.models import load_models, require_chat_template

    loaded = load_models(models)
    for name, (_, tokenizer) in loaded.items():
        if name not in args.base:
            require_chat_template(tokenizer, models[name])
    looker = Looker(loaded, args.base, args.rows, args.seed)
    if folder is None:
        serve(looker, args)
        return
    (folder / PAGE).write_text(page(looker, args, served=False), encoding="utf-8", errors="replace")
    print(folder / PAGE)


if __name__ == "__main__":
    main()
