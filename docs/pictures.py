"""The README's two pictures, of a finished run: the report and the chat page, as a browser shows them.

    python docs/pictures.py --run runs/tiny
    python docs/pictures.py --run runs/tiny --output_dir docs --question "Who is Orson Kovats?"

Needs the extra `test` (playwright) and a Chromium of the system (`apt install chromium`). Writes report.png and
chat.png. The chat page asks two stages the same question, greedily; the second one has its tools.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, existing, parse

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START = 600  # seconds that loading the models may take


@dataclass
class PictureArguments:
    run: str = field(metadata={"help": "folder of a finished run"})
    output_dir: str = field(default="docs", metadata={"help": "folder for report.png and chat.png"})
    question: str = field(default="Who is Orson Kovats?", metadata={"help": "what the chat page asks"})
    left: str = field(default="sft", metadata={"help": "the stage on the left of the chat page"})
    right: str = field(default="honest", metadata={"help": "the stage on its right"})


@contextlib.contextmanager
def browser() -> Iterator:
    """Playwright's browser, without a window.

    Raises:
        UserError: there is no Chromium, or no playwright.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("playwright is not installed: pip install -c constraints.txt -e '.[test]'") from None
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise UserError(f"expected one of {', '.join(BROWSERS)} on the PATH, found none: apt install chromium")
    with sync_playwright() as driver:
        # a page of this repository alone is opened, so that the browser's own sandbox is not needed in a container
        window = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield window
        window.close()


@contextlib.contextmanager
def chat_server(run: Path) -> Iterator[str]:
    """`recipes.chat --web` on the run, with its votes in a temporary folder; its address once it answers.

    Raises:
        UserError: it ended, or does not answer in ten minutes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory() as folder:
        argv = ["--web", "--run", str(run), "--port", str(port), "--temperature", "0"]
        argv += ["--votes", str(Path(folder, "people.jsonl"))]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        server = subprocess.Popen(
            [sys.executable, "-m", "recipes.chat", *argv], env=os.environ | {"PYTHONPATH": path}, cwd=Path.cwd()
        )
        try:
            wait_for(address, server)
            yield address
        finally:
            server.terminate()
            server.wait()


def wait_for(address: str, server: subprocess.Popen) -> None:
    """Return once the server answers; raises `UserError` where it never will."""
    end = time.monotonic() + START
    while time.monotonic() < end:
        if server.poll() is not None:
            raise UserError(f"the chat page ended with exit code {server.returncode}; its own error stands above")
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=60):
            return
        time.sleep(1)
    raise UserError(f"the chat page did not answer within {START} seconds")


def picture_of_report(window, page_file: Path, output: Path) -> None:
    """The first screen of the report, 1,280 x 860 px."""
    page = window.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
    page.set_default_timeout(START * 1000)
    page.goto(page_file.resolve().as_uri())
    page.screenshot(path=str(output))
    page.close()


def picture_of_chat(window, address: str, args: PictureArguments, output: Path) -> None:
    """Two stages side by side on the chat page after one question, 1,280 px wide."""
    page = window.new_page(viewport={"width": 1280, "height": 640}, color_scheme="light", bypass_csp=True)
    page.set_default_timeout(START * 1000)
    page.goto(address)
    page.select_option("#left", args.left)
    page.select_option("#right", args.right)
    page.fill("#text", args.question)
    page.keyboard.press("Enter")
    page.wait_for_selector(".reply")
    page.wait_for_function("!stopper && !document.querySelector('.going')")
    page.screenshot(path=str(output))
    page.close()


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PictureArguments,), argv)
    run = Path(args.run)
    report = existing(run / "report" / "index.html", "report", "make it: python -m eval.report --run_dir RUN")
    for stage in (args.left, args.right):
        existing(run / stage / "config.json", "model", "name a stage of the run")
    folder = existing(args.output_dir, "folder", "make it first")
    with browser() as window:
        picture_of_report(window, report, folder / "report.png")
        with chat_server(run) as address:
            picture_of_chat(window, address, args, folder / "chat.png")
    print(f"{folder / 'report.png'}, {folder / 'chat.png'}")


if __name__ == "__main__":
    main()
