"""The chat as a web page: one stage, or two side by side.

    python -m recipes.chat --web --run runs/tiny                # every language model of a run, its tools, votes \
        in runs/tiny/arena/people.jsonl
    python -m recipes.chat --web --model runs/tiny/sft
    python -m recipes.chat --web --models sft=runs/tiny/sft ppo=runs/tiny/ppo --tools python search=runs/tiny/index \
        --votes votes.jsonl

The page shows calls of tools and their results where they stand, and on demand every token that the model has before
it. Blind, the names are hidden and the sides drawn until the vote, which adds one line to the file of votes:

    {"prompt": [messages], "models": ["sft", "ppo"], "responses": [[messages], [messages]], "winner": "a" | "b" |
    "tie", "judge": "person", "labeller", "time"}

"a" is the first of `models`, which stood on the left; `responses` holds all that came after the first message, `time`
is in seconds since 1970. With `--approve` each call of a tool waits until a person allows, edits or refuses it on the
page, or stops the job (`recipes.approve`). The server keeps no conversation, the page does, so people do not meet. It loads nothing from
elsewhere. It has no password: `--host` other than this machine lets in whoever reaches it.

Install: pip install -c constraints.txt -e '.[chat]' (Gradio).
"""

import asyncio
import json
import os
import secrets
import threading
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from eval.cli import UserError, existing, named_folders
from eval.web_guard import guard
from recipes.approve import Approval, Decision, Desk, StopJob
from recipes.seen import see
from recipes.starters import Starter, stage_of, starters
from recipes.talk import Listener, Talk, check_sampling, completes, cut, load_model
from recipes.votes import Votes

PAGE = Path(__file__).with_name("chat.html")
STYLES = [Path(__file__).parents[1] / path for path in ("eval/report/style.css", "data_prep/tokenizer_show.css")]


@dataclass
class Stage:
    """A model to choose: without tools, with tools (None for a base model), whether it completes text alone; which of
    `recipes.starters.STAGES` it is, and what the stages of its run may be asked."""

    plain: Talk
    tools: Talk | None
    base: bool
    kind: str = "assistant"
    starters: list[Starter] = field(default_factory=list)


class Stopped(Exception):
    """Nobody waits for the reply any more."""


class Stream(Listener):
    """Passes a reply on, as events (dicts), until it is stopped. `approval` decides on calls; None: they run unasked."""

    def __init__(self, put, stopped: threading.Event, approval: Approval | None = None):
        self.put, self.stopped, self.approval = put, stopped, approval

    def _tell(self, **event) -> None:
        if self.stopped.is_set():
            raise Stopped
        self.put(event)

    def tokens(self, ids: list[int], written: bool) -> None:
        self._tell(ids=ids, written=written)

    def text(self, field: str, text: str) -> None:
        self._tell(field=field, text=text)

    def message(self, message: dict) -> None:
        self._tell(message=message)
        if self.approval:
            self.approval.decide(message)


def app(
    stages: dict[str, Stage], votes: Votes | None, settings: dict, seed: int | None = None, host: str = "127.0.0.1"
):
    """The page and what it calls, to be served at `host`."""
    from fastapi.responses import HTMLResponse, StreamingResponse
    from gradio import Server
    from jinja2 import Template
    from markdown_it import MarkdownIt
    from pydantic import BaseModel, Field

    class Message(BaseModel, extra="allow"):
        role: Literal["system", "user", "assistant", "tool"]
        content: str

    Messages = Annotated[list[Message], Field(min_length=1)]

    class Asked(BaseModel):
        """Whom: a model by name, or a side of a blind pair. What: a conversation, or a text to continue."""

        model: str | None = None
        pair: str | None = None
        side: Literal[0, 1] = 0
        tools: bool = False
        prompt: Messages | str

        def talk(self) -> Talk:
            name = votes.names(self.pair)[self.side] if self.pair and votes else self.model
            if name not in stages:
                raise UserError("there is no such model: load the page again")
            return self.tools and not isinstance(self.prompt, str) and stages[name].tools or stages[name].plain

        def given(self) -> list[dict] | str:
            return self.prompt if isinstance(self.prompt, str) else [m.model_dump() for m in self.prompt]

    class Reply(Asked):
        max_new_tokens: int
        temperature: float

    class Tokens(Asked):
        ids: list[Annotated[int, Field(ge=0)]] = []
        written: list[int] = []

    class Decided(BaseModel):
        ticket: str
        kind: Literal["allow", "edit", "refuse", "stop"]
        arguments: dict | None = None

        def decision(self) -> Decision | None:
            if self.kind == "stop":
                return None
            if self.kind == "edit" and self.arguments is None:
                raise UserError("an edit needs the arguments of the call")
            return Decision(self.kind, self.arguments if self.kind == "edit" else None)

    class Pair(BaseModel):
        names: list[str]

    class Vote(BaseModel):
        pair: str
        winner: Literal["a", "b", "tie"]
        labeller: str
        prompt: Messages
        responses: Annotated[list[Messages], Field(min_length=2, max_length=2)]

    class Text(BaseModel):
        text: str = Field(max_length=50_000)  # some texts take a time that grows with the square of their length

    desk = Desk()
    server = Server(title="Tumbler: chat", docs_url=None, redoc_url=None, openapi_url=None)
    style = "".join(path.read_text(encoding="utf-8") for path in STYLES)
    page = Template(PAGE.read_text(encoding="utf-8"), autoescape=True)
    markdown = (
        MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")
    )  # an image would be loaded from elsewhere
    start = {"models": [about(name, stage) for name, stage in stages.items()], "votes": votes is not None, **settings}

    @server.get("/", response_class=HTMLResponse)
    def index():
        nonce = secrets.token_urlsafe(12)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; connect-src 'self'; img-src"
            " data:; base-uri 'none'; form-action 'none'"
        )
        return HTMLResponse(
            page.render(style=style, start=start, nonce=nonce), headers={"Content-Security-Policy": policy}
        )

    @server.post("/reply")
    async def reply(asked: Reply):
        """The reply as JSON lines, until the client leaves: `Stream`'s events, then `end` or `error`."""
        check_sampling(asked.temperature, asked.max_new_tokens)
        talk, events, stopped, loop = asked.talk(), asyncio.Queue(), threading.Event(), asyncio.get_running_loop()
        approval = None
        if settings.get("approve") and talk.tools:
            approval = Approval(lambda call: desk.ask(put, stopped, call))
            talk = Talk(talk.model, talk.tokenizer, [approval.guarded(tool) for tool in talk.tools])

        def put(event: dict | None) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        def work() -> None:
            try:
                done, messages = talk.reply(
                    asked.given(),
                    Stream(put, stopped, approval),
                    max_new_tokens=asked.max_new_tokens,
                    temperature=asked.temperature,
                    seed=seed,
                )
                written = done.written or [1] * len(done.token_ids)
                end = {"ids": done.token_ids, "written": written, "messages": messages}
                decided = approval.told() if approval else ""
                put({"end": {**end, "cut": "; ".join(filter(None, (cut(done, asked.max_new_tokens), decided)))}})
            except Stopped:
                pass
            except StopJob:
                put({"stopped": "; ".join(filter(None, ("stopped by a person", approval.told())))})
            except UserError as error:
                put({"error": str(error)})
            except (
                Exception
            ):  # a template that refuses the conversation, a model that runs out of memory; a name may stand in it
                traceback.print_exc()
                put({"error": "the model failed; the terminal of the server says why"})
            finally:
                put(None)

        async def lines():
            threading.Thread(target=work, daemon=True).start()
            try:
                while (event := await events.get()) is not None:
                    yield json.dumps(event) + "\n"
            finally:
                stopped.set()

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @server.post("/decide")
    def decide(given: Decided):
        desk.decide(given.ticket, given.decision())
        return {}

    @server.post("/tokens")
    def tokens(asked: Tokens):
        return {"tokens": see(asked.talk(), asked.given(), asked.ids, asked.written)}

    @server.post("/markdown")
    def to_html(text: Text):
        return {"html": markdown.render(text.text)}

    if votes:

        @server.post("/pair")
        def pair(asked: Pair):
            names = asked.names or [name for name, stage in stages.items() if not stage.base]
            if len(set(names)) < 2 or any(name not in stages or stages[name].base for name in names):
                raise UserError("a blind pair needs two different models that answer")
            return {"pair": votes.draw(list(dict.fromkeys(names)))}

        @server.post("/vote")
        def vote(given: Vote):
            prompt, *responses = ([m.model_dump() for m in messages] for messages in (given.prompt, *given.responses))
            return {"models": votes.vote(given.pair, given.winner, given.labeller, prompt, responses)}

    guard(server, host)
    return server


def about(name: str, stage: Stage) -> dict:
    """What the page knows of a model."""
    size = sum(parameter.numel() for parameter in stage.plain.model.parameters())
    asks = [asdict(starter) for starter in stage.starters]
    return {"name": name, "base": stage.base, "kind": stage.kind, "size": size, "starters": asks}


def language_models(run: str) -> tuple[dict[str, str], set[str]]:
    """Names and folders of a run's stages that write text, each behind its parent; and the names of those that any
    stage was trained from.

    Raises:
        UserError: no such folder, or no such stage in it.
    """
    parents, started_from = {}, set()
    stages = existing(run, "the run", "give its folder, such as runs/tiny").glob("*/stage.json")
    for folder in sorted(
        (path.parent for path in stages), key=lambda folder: (folder / "stage.json").stat().st_mtime
    ):  # as they were trained
        try:
            parent, kind = (
                json.loads((folder / name).read_text(encoding="utf-8"))[key]
                for name, key in (("stage.json", "parent"), ("config.json", "architectures"))
            )
            started_from.add(Path(parent or "").name)
            if not kind[0].endswith("ForSequenceClassification"):  # else a reward model
                parents[folder.name] = Path(parent or "").name
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue
    if not parents:
        raise UserError(
            f"{run} holds no stage (a folder with stage.json and config.json): give the folder of a run, such as"
            " runs/tiny, or a stage with --model"
        )
    order: list[str] = []
    while left := [name for name in parents if name not in order]:
        order += [name for name in left if parents[name] not in left or parents[name] == name] or left
    return {name: str(Path(run, name)) for name in order}, started_from


def serve(args) -> None:
    """Load the models of `recipes.chat.ChatArguments` and open the page, until Ctrl-C."""
    from eval.models import load_tokenizer
    from eval.tool_loop import load_tools

    if sum(map(bool, (args.model, args.models, args.run))) != 1:
        raise UserError("--web needs one of --run (all stages of a run), --model and --models name=folder …")
    if not 0 < args.port < 65536:
        raise UserError(f"port must lie between 1 and 65535, but is {args.port}")
    paths, started_from = (
        language_models(args.run)
        if args.run
        else (named_folders(args.models) if args.models else {Path(args.model).name: args.model}, set())
    )
    index = Path(args.run, "index") if args.run else None
    names = args.tools or (
        ["python", *([f"search={index}"] if (index / "search.json").exists() else [])] if args.run else []
    )
    if args.approve and not names:
        raise UserError("--approve asks before tools are called, and there are none: name some with --tools")
    path = args.votes or (args.run and str(Path(args.run, "arena", "people.jsonl")))
    votes, tools, stages = Votes(path) if path else None, load_tools(names), {}
    for name, folder in paths.items():
        tokenizer = load_tokenizer(folder)
        base = completes(folder, tokenizer)
        model = load_model(folder)
        calling = Talk(model, tokenizer, tools) if tools and not base else None
        asks = starters(args.run or Path(folder).parent)
        stages[name] = Stage(Talk(model, tokenizer, []), calling, base, stage_of(folder, base), asks)
        for talk in filter(
            None, (stages[name].plain, stages[name].tools)
        ):  # the first reply takes longer: not the first person's
            talk.reply(
                "a" if base else [{"role": "user", "content": "a"}], Listener(), max_new_tokens=2, temperature=1.0
            )
    if (args.tools or args.system) and (args.complete or all(stage.base for stage in stages.values())):
        raise UserError(
            "to continue text has no place for --system and --tools: give a model with a chat template, without"
            " --complete"
        )
    answering = [name for name, stage in stages.items() if not stage.base] or list(stages)[:1]
    first = [answering[-1], *(name for name in answering if name in started_from)][
        -1
    ]  # the assistant that the last stages were trained from
    settings = {
        "first": first,
        "system": args.system or "",
        "temperature": args.temperature,
        "max_new_tokens": args.max_new_tokens,
        "complete": args.complete,
        "approve": args.approve,
    }
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        server = app(stages, votes, {**settings, "tools": [tool.__name__ for tool in tools]}, args.seed, args.host)
    except ImportError as error:
        raise UserError(f"the page needs Gradio ({error}): pip install -c constraints.txt -e '.[chat]'") from None
    try:
        server.launch(server_name=args.host, server_port=args.port, share=False, quiet=True, prevent_thread_lock=True)
    except OSError as error:
        raise UserError(f"cannot listen at {args.host}:{args.port} ({error}): choose another --port") from None
    print(f"{', '.join(stages)}: http://{args.host}:{args.port} (Ctrl-C ends)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    raise SystemExit("error: the page is opened by python -m recipes.chat --web")
