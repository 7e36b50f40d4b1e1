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
page, or stops the job. The server keeps no conversation, the page does, so people do not meet. It loads nothing from
elsewhere. It has no password: `--host` other than this machine lets in whoever reaches it.

Install: pip install -c constraints.txt -e '.[chat]' (Gradio).
"""

import asyncio
import contextlib
import json
import os
import secrets
import threading
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eval.cli import UserError, existing, named_folders
from eval.shared.web_guard import guard
from recipes.chat_ui.approve import Approval, Desk, StopJob
from recipes.chat_ui.pictures import book_of, drawn
from recipes.chat_ui.session import Listener, Talk, check_sampling, completes, cut, load_model
from recipes.chat_ui.starters import Starter, stage_of, starters
from recipes.chat_ui.token_view import see
from recipes.chat_ui.votes import Votes

PAGE = Path(__file__).with_name("chat.html")
STYLES = [
    Path(__file__).parents[2] / path
    for path in ("eval/report/style.css", "data_prep/tokenizer_pages/tokenizer_show.css")
]


@dataclass
class Stage:
    """A model to choose: without tools, with tools (None for a base model), whether it completes text alone; which of
    `recipes.chat_ui.starters.STAGES` it is, and what the stages of its run may be asked."""

    plain: Talk
    tools: Talk | None
    base: bool
    kind: str = "assistant"
    starters: list[Starter] = field(default_factory=list)


class Stopped(Exception):
    """Nobody waits for the reply any more."""


class Stream(Listener):
    """Passes a reply on, as events (dicts), until it is stopped; `approval` decides on calls, which run unasked
    without one."""

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


class ReplyStream:
    """One reply, made in a thread of its own and read as JSON lines: `Stream`'s events, then `end` or `error`.

    Args:
        asked: the `recipes.chat_ui.schemas.Reply` of the page.
        desk: where calls of tools wait for a person; None: they run unasked.
    """

    def __init__(self, talk: Talk, asked, seed: int | None, desk: Desk | None = None):
        self.talk, self.asked, self.seed = talk, asked, seed
        self.approval: Approval | None = None
        if desk:
            self.approval = Approval(lambda call: desk.ask(self._put, self.stopped, call))
            self.talk = Talk(talk.model, talk.tokenizer, [self.approval.guarded(tool) for tool in talk.tools])
        self.events: asyncio.Queue = asyncio.Queue()
        self.stopped = threading.Event()
        self.loop = asyncio.get_running_loop()

    async def lines(self):
        """The events as they come, until there are no more or the client leaves."""
        threading.Thread(target=self._work, daemon=True).start()
        try:
            while True:
                event = await self.events.get()
                if event is None:
                    return
                yield json.dumps(event) + "\n"
        finally:
            self.stopped.set()

    def _put(self, event: dict | None) -> None:
        self.loop.call_soon_threadsafe(self.events.put_nowait, event)

    def _work(self) -> None:
        try:
            self._put({"end": self._reply()})
        except Stopped:
            pass
        except StopJob:
            self._put({"stopped": "; ".join(filter(None, ("stopped by a person", self._decisions())))})
        except UserError as error:
            self._put({"error": str(error)})
        except Exception:
            # a template that refuses the conversation, a model that runs out of memory; a name may stand in it
            traceback.print_exc()
            self._put({"error": "the model failed; the terminal of the server says why"})
        finally:
            self._put(None)

    def _reply(self) -> dict:
        done, messages = self.talk.reply(
            self.asked.given(),
            Stream(self._put, self.stopped, self.approval),
            max_new_tokens=self.asked.max_new_tokens,
            temperature=self.asked.temperature,
            seed=self.seed,
        )
        written = done.written or [1] * len(done.token_ids)
        end = {"ids": done.token_ids, "written": written, "messages": messages}
        if self.talk.book:
            end["pictures"] = drawn(self.talk.tokenizer, self.talk.book, done.token_ids)
        return {**end, "cut": "; ".join(filter(None, (cut(done, self.asked.max_new_tokens), self._decisions())))}

    def _decisions(self) -> str:
        """How many decisions a person made, in words; "" for none."""
        return self.approval.told() if self.approval else ""


def talk_of(asked, stages: dict[str, Stage], votes: Votes | None) -> Talk:
    """The model that a request is for, with its tools where they are asked for.

    Raises:
        UserError: there is no such model.
    """
    name = votes.names(asked.pair)[asked.side] if asked.pair and votes else asked.model
    if name not in stages:
        raise UserError("there is no such model: load the page again")
    with_tools = asked.tools and not isinstance(asked.prompt, str) and stages[name].tools
    return with_tools or stages[name].plain


def page_renderer(start: dict):
    """A function that gives the page as an HTML response; `start` is what the page begins with."""
    from fastapi.responses import HTMLResponse
    from jinja2 import Template

    style = "".join(path.read_text(encoding="utf-8") for path in STYLES)
    page = Template(PAGE.read_text(encoding="utf-8"), autoescape=True)

    def render():
        nonce = secrets.token_urlsafe(12)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; connect-src 'self'; img-src"
            " data:; base-uri 'none'; form-action 'none'"
        )
        html = page.render(style=style, start=start, nonce=nonce)
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    return render


def add_votes(server, stages: dict[str, Stage], votes: Votes) -> None:
    """The routes of the blind vote."""
    from recipes.chat_ui.schemas import Pair, Vote, as_dicts

    @server.post("/pair")
    def pair(asked: Pair):
        names = asked.names or [name for name, stage in stages.items() if not stage.base]
        if len(set(names)) < 2 or any(name not in stages or stages[name].base for name in names):
            raise UserError("a blind pair needs two different models that answer")
        return {"pair": votes.draw(list(dict.fromkeys(names)))}

    @server.post("/vote")
    def vote(given: Vote):
        responses = [as_dicts(messages) for messages in given.responses]
        return {"models": votes.vote(given.pair, given.winner, given.labeller, as_dicts(given.prompt), responses)}


def app(
    stages: dict[str, Stage], votes: Votes | None, settings: dict, seed: int | None = None, host: str = "127.0.0.1"
):
    """The page and what it calls, to be served at `host`."""
    from fastapi.responses import HTMLResponse, StreamingResponse
    from gradio import Server
    from markdown_it import MarkdownIt

    from recipes.chat_ui.schemas import Decided, Reply, Text, Tokens

    desk = Desk()
    server = Server(title="Tumbler: chat", docs_url=None, redoc_url=None, openapi_url=None)
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table")
    markdown.disable("image")  # an image would be loaded from elsewhere
    start = {"models": [about(name, stage) for name, stage in stages.items()], "votes": votes is not None, **settings}
    server.get("/", response_class=HTMLResponse)(page_renderer(start))

    @server.post("/reply")
    async def reply(asked: Reply):
        check_sampling(asked.temperature, asked.max_new_tokens)
        talk = talk_of(asked, stages, votes)
        stream = ReplyStream(talk, asked, seed, desk if settings.get("approve") and talk.tools else None)
        return StreamingResponse(stream.lines(), media_type="application/x-ndjson")

    @server.post("/decide")
    def decide(given: Decided):
        desk.decide(given.ticket, given.decision())
        return {}

    @server.post("/tokens")
    def tokens(asked: Tokens):
        return {"tokens": see(talk_of(asked, stages, votes), asked.given(), asked.ids, asked.written)}

    @server.post("/markdown")
    def to_html(text: Text):
        return {"html": markdown.render(text.text)}

    if votes:
        add_votes(server, stages, votes)
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
    return {name: str(Path(run, name)) for name in behind_parents(parents)}, started_from


def behind_parents(parents: dict[str, str]) -> list[str]:
    """The names, each behind its parent where that is among them."""
    order: list[str] = []
    left = list(parents)
    while left:
        order += [name for name in left if parents[name] not in left or parents[name] == name] or left
        left = [name for name in parents if name not in order]
    return order


def load_stage(folder: str, tools: list, run: str | Path, insist: bool) -> Stage:
    """The model in a folder, ready to answer; the first reply takes longer, and is made here.

    Args:
        insist: the tools were asked for; else a model whose chat template has no place for calls goes without.
    """
    from eval.generation.call_format import has_tools
    from eval.generation.models import load_tokenizer

    tokenizer = load_tokenizer(folder)
    base = completes(folder, tokenizer)
    model = load_model(folder)
    calling = None
    if tools and not base and (insist or has_tools(tokenizer)):
        calling = Talk(model, tokenizer, tools)
    elif tools and not base:
        print(f"{folder}: its chat template has no place for calls of tools, so it answers without")
    stage = Stage(Talk(model, tokenizer, [], book_of(folder)), calling, base, stage_of(folder, base), starters(run))
    first = "a" if base else [{"role": "user", "content": "a"}]
    for talk in filter(None, (stage.plain, stage.tools)):
        talk.reply(first, Listener(), max_new_tokens=2, temperature=1.0)
    return stage


def paths_of(args) -> tuple[dict[str, str], set[str]]:
    """The models that the arguments name, and the names of those that other stages were trained from.

    Raises:
        UserError: none or several of --run, --model and --models; a port that is none.
    """
    if sum(map(bool, (args.model, args.models, args.run))) != 1:
        raise UserError("--web needs one of --run (all stages of a run), --model and --models name=folder …")
    if not 0 < args.port < 65536:
        raise UserError(f"port must lie between 1 and 65535, but is {args.port}")
    if args.run:
        return language_models(args.run)
    return (named_folders(args.models) if args.models else {Path(args.model).name: args.model}), set()


def tool_names(args) -> list[str]:
    """The tools of the arguments; of a run without any, Python and its own index."""
    if args.tools or not args.run:
        return args.tools
    index = Path(args.run, "index")
    return ["python", *([f"search={index}"] if (index / "search.json").exists() else [])]


def page_settings(args, stages: dict[str, Stage], started_from: set[str]) -> dict:
    """What the page begins with: among others the model that is chosen first, the assistant that the last stages were
    trained from."""
    answering = [name for name, stage in stages.items() if not stage.base] or list(stages)[:1]
    first = [answering[-1], *(name for name in answering if name in started_from)][-1]
    return {
        "first": first,
        "system": args.system or "",
        "temperature": args.temperature,
        "max_new_tokens": args.max_new_tokens,
        "complete": args.complete,
        "approve": args.approve,
    }


def serve(args) -> None:
    """Load the models of `recipes.chat.ChatArguments` and open the page, until Ctrl-C."""
    from eval.generation.tool_loop import load_tools

    paths, started_from = paths_of(args)
    votes_path = args.votes or (args.run and str(Path(args.run, "arena", "people.jsonl")))
    votes = Votes(votes_path) if votes_path else None
    tools = load_tools(tool_names(args))
    if args.approve and not tools:
        raise UserError("--approve asks before tools are called, and there are none: name some with --tools")
    stages = {
        name: load_stage(folder, tools, args.run or Path(folder).parent, bool(args.tools))
        for name, folder in paths.items()
    }
    if (args.tools or args.system) and (args.complete or all(stage.base for stage in stages.values())):
        raise UserError(
            "to continue text has no place for --system and --tools: give a model with a chat template, without"
            " --complete"
        )
    settings = page_settings(args, stages, started_from) | {"tools": [tool.__name__ for tool in tools]}
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        server = app(stages, votes, settings, args.seed, args.host)
    except ImportError as error:
        raise UserError(f"the page needs Gradio ({error}): pip install -c constraints.txt -e '.[chat]'") from None
    try:
        server.launch(server_name=args.host, server_port=args.port, share=False, quiet=True, prevent_thread_lock=True)
    except OSError as error:
        raise UserError(f"cannot listen at {args.host}:{args.port} ({error}): choose another --port") from None
    print(f"{', '.join(stages)}: http://{args.host}:{args.port} (Ctrl-C ends)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    raise SystemExit("error: the page is opened by python -m recipes.chat --web")
