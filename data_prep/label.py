"""The labelling app, a web page: people rank answers, or edit, accept and reject drafts.

    python -m data_prep.label --items runs/x/candidates.jsonl --output_dir runs/x/labels        # rows of prompt \
        and responses: rank
    python -m data_prep.label --items runs/x/drafts/drafts.jsonl --output_dir runs/x/labels     # rows of messages: \
        write, beside the guidelines
    python -m data_prep.label --items runs/x/candidates.jsonl --output_dir runs/x/labels --export runs/x/rankings.jsonl

Candidates come from `python -m data_prep.preferences --ranker none`, drafts from `data_prep.synthesize`. The page
works by mouse, touch and keyboard (it says how); every action is on disk before the page goes on, a server that is
stopped or killed resumes where it was, and several people work at once: no item is given to more people than want it.
A share of the items (`twice`) goes to two, for the agreement it shows.

`--export` writes what there is and ends: rankings for `data_prep.preferences --rankings`, or conversations for
`recipes.sft`; with `--push_to_hub me/name` also to the Hub, as a private data set. The page has no password: `--host`
other than this machine lets in whoever reaches it, so put a proxy with one in front.

Install: pip install -c constraints.txt -e '.[label]' (Gradio).
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.drafting.arguments import GUIDELINES
from data_prep.labelling.labels import Labels, person, read_items
from eval.cli import UserError, command, existing, output_folder, parse, write_jsonl
from eval.shared.web_guard import guard

PAGE = Path(__file__).parent / "labelling" / "label.html"
STYLE = Path(__file__).parents[1] / "eval" / "report" / "style.css"


@dataclass
class LabelArguments:
    items: str = field(metadata={"help": ".jsonl file of what is to be labelled"})
    output_dir: str = field(metadata={"help": "folder of the labels; the same again goes on"})
    twice: float = field(default=0.1, metadata={"help": "share of the items that two people label"})
    guidelines: str = field(
        default=str(GUIDELINES), metadata={"help": "Markdown file, shown beside drafts and below rankings"}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "address to listen at; 0.0.0.0 is all"})
    port: int = field(default=7860, metadata={"help": "port to listen at"})
    export: str | None = field(default=None, metadata={"help": ".jsonl file to write instead of opening the page"})
    push_to_hub: str | None = field(
        default=None, metadata={"help": "with export: Hub id of the data set, private when it is new"}
    )


def app(labels: Labels, guidelines: str, host: str = "127.0.0.1"):
    """The page and what it calls, to be served at `host`."""
    from fastapi import Body
    from fastapi.responses import HTMLResponse
    from gradio import Server
    from jinja2 import Template
    from markdown_it import MarkdownIt

    server = Server(title="Tumbler: labelling", docs_url=None, redoc_url=None, openapi_url=None)
    page = Template(PAGE.read_text(encoding="utf-8"), autoescape=True).render(
        task=labels.task,
        items=len(labels.items),
        twice=sum(map(labels.wanted, labels.items)) - len(labels.items),
        key=hashlib.sha256(str(labels.folder.resolve()).encode()).hexdigest()[:12],
        style=STYLE.read_text(encoding="utf-8"),
        guidelines=MarkdownIt("commonmark", {"html": False}).render(guidelines),
    )

    @server.get("/", response_class=HTMLResponse)
    def index():
        return page

    @server.post("/act")
    def act(action: dict = Body()):
        labels.act(action)
        return {"progress": labels.progress(action.get("labeller"))}

    @server.post("/next")
    def next_item(
        labeller: str = Body(), before: str | None = Body(default=None), skipped: bool = Body(default=False)
    ):
        """The next item; with `before`, the one that this person labelled before it ("" for the last); with `skipped`
        also what they skipped."""
        labeller = person(labeller)
        history = [item for item in labels.history.get(labeller, []) if item in labels.items]
        if before is None:
            item = labels.next(labeller, skipped)
        else:
            at = history.index(before) if before in history else len(history)
            item = history[max(0, at - 1)] if history else labels.next(labeller)
        return {"shown": labels.shown(item, labeller) if item else None, "progress": labels.progress(labeller)}

    guard(server, host)
    return server


def export(labels: Labels, path: str, hub: str | None) -> None:
    rows = labels.rows()
    if not rows:
        raise UserError(f"{labels.folder} has no label that gives a row yet: open the page without --export")
    write_jsonl(path, rows)
    said = ", ".join(f"{count:,} {kind}" for kind, count in labels.counts().items())
    print(f"{path}: {len(rows):,} rows from {said}")
    if hub:
        from datasets import Dataset
        from huggingface_hub.errors import HfHubHTTPError

        try:
            Dataset.from_list(rows).push_to_hub(hub, private=True)
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise UserError(
                f"{path} is written, but not on the Hub as {hub} ({str(error).splitlines()[0]}): see `hf auth login`,"
                " then run the command again"
            ) from None


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((LabelArguments,), argv)
    if not 0 <= args.twice <= 1:
        raise UserError(f"twice must lie between 0 and 1, but is {args.twice}")
    if args.push_to_hub and not args.export:
        raise UserError("push_to_hub goes with export: give the file to write, too")
    if not 0 < args.port < 65536:
        raise UserError(f"port must lie between 1 and 65535, but is {args.port}")
    task, items = read_items(args.items)
    try:
        guidelines = existing(args.guidelines, "guidelines", "give a Markdown file").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"guidelines {args.guidelines} cannot be read as text ({error}): give a Markdown file"
        ) from None
    if args.export:
        journal, target = Path(args.output_dir) / "labels.jsonl", Path(args.export)
        if not journal.exists():
            raise UserError(f"there is no {journal}: give the --output_dir that the labels are in")
        if target.is_dir() or target.resolve() in (journal.resolve(), Path(args.items).resolve()):
            raise UserError(f"--export {target} is a folder, the labels or the items themselves: give another file")
        output_folder(target.parent)
    labels = Labels(Path(args.output_dir), items, task, args.twice)
    if args.export:
        export(labels, args.export, args.push_to_hub)
        return
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        server = app(labels, guidelines, args.host)
    except ImportError as error:
        raise UserError(f"the page needs Gradio ({error}): pip install -c constraints.txt -e '.[label]'") from None
    try:
        print(f"{len(items):,} items to {task}: http://{args.host}:{args.port}", flush=True)
        server.launch(server_name=args.host, server_port=args.port, quiet=True)
    except OSError as error:
        raise UserError(f"cannot listen at {args.host}:{args.port} ({error}): choose another --port") from None


if __name__ == "__main__":
    main()
