"""The chat page: what it streams is what `eval.generation.generate` gives; in headless Chromium, with scripted models
and with the command itself."""

import functools
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT, rows, save_model
from test_generate_tools import END, PYTHON, asked, scripted, search_for
from test_generate_tools import tokenizer as letters  # noqa: F401
from test_label import browser  # noqa: F401

from eval.cli import UserError
from eval.generation.generate import generate
from recipes.chat import main
from recipes.chat_ui.session import Listener, Talk
from recipes.chat_ui.starters import Starter
from recipes.chat_ui.token_view import see
from recipes.chat_ui.votes import Votes
from recipes.chat_ui.web import Stage, app, language_models

EVIL = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"


def search(query: str) -> str:
    """Look something up.

    Args:
        query: what
    """
    return f"{EVIL} about {query}"


class Heard(Listener):
    def __init__(self, most: int = 10**9):
        self.ids, self.written, self.fields, self.messages, self.most = [], [], {}, [], most

    def tokens(self, ids, written):
        self.ids += ids
        self.written += [int(written)] * len(ids)
        if len(self.ids) >= self.most:
            raise InterruptedError

    def text(self, field, text):
        self.fields[field] = self.fields.get(field, "") + text

    def message(self, message):
        self.messages.append(message)


# ---- A reply, without a page ----


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 1.0, "seed": 3}])
def test_the_streamed_reply_is_the_generated_one(letters, tmp_path, settings):  # noqa: F811
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "model", letters))
    for prompt in ([{"role": "user", "content": "Who are you?"}], "Once upon"):
        heard = Heard()
        done, _ = Talk(model, letters, []).reply(prompt, heard, max_new_tokens=40, **settings)
        assert [[done]] == generate(model, letters, [prompt], max_new_tokens=40, **settings)
        assert heard.ids == done.token_ids and set(heard.written) == {1}
    assert heard.fields["content"] == done.text


def test_with_tools_too(letters):  # noqa: F811
    turns = [f"Look.{search_for('who')}", f"<think>so</think>{PYTHON[0]}1{END}", f"It is 7.{END}"]
    for room in (400, 60, 40):  # all of it; cut in the last turn, or before a result that does not fit
        heard, model = Heard(), scripted(letters, {"a": turns})
        done, messages = Talk(model, letters, [search]).reply(asked("a"), heard, max_new_tokens=room, temperature=0)
        assert [[done]] == generate(model, letters, [asked("a")], max_new_tokens=room, temperature=0, tools=[search])
        assert heard.ids == done.token_ids and heard.written == done.written and messages == done.messages
    assert len({len(messages), room}) == 2


def test_a_listener_that_raises_ends_the_computation(letters):  # noqa: F811
    model = scripted(letters, {"a": ["so " * 500]})
    model.sizes.clear()
    with pytest.raises(InterruptedError):
        Talk(model, letters, []).reply(asked("a"), Heard(most=5), max_new_tokens=400, temperature=0)
    assert len(model.sizes) == 5


def test_tokens_of_every_turn_say_who_wrote_them(letters):  # noqa: F811
    script = {"a": [f"Look.{search_for('who')}", f"Nobody.{END}", f"Bye.{END}"]}
    talk = Talk(scripted_with_logits(letters, script), letters, [search])
    done, messages = talk.reply(asked("a"), Heard(), max_new_tokens=400, temperature=0)
    now = see(talk, asked("a"), done.token_ids, done.written)
    later = see(talk, [*asked("a"), *messages, {"role": "user", "content": "And?"}], [], [])
    length = len(talk.ids(asked("a")))
    assert [t["kind"] for t in now[:length]] == ["given"] * length
    assert [t["kind"] == "written" for t in now[length:]] == [bool(w) for w in done.written]
    assert [(t["id"], t["kind"]) for t in later[: len(now)]] == [(t["id"], t["kind"]) for t in now]
    assert {t["kind"] for t in later[len(now) :]} == {"given"}
    assert all((t["p"] is None) == (t["kind"] != "written") for t in now) and all(
        t["p"] is None or 0 < t["p"] < 1 for t in now
    )
    assert [t["text"] for t in now if t["mark"] and t["kind"] == "written"] == [
        "<|search_start|>",
        "<|search_end|>",
        END,
        END,
    ]


def scripted_with_logits(letters, script):  # noqa: F811
    """A scripted model that also reads a whole conversation without a cache: all tokens are equally likely."""
    import torch

    model = scripted(letters, script)
    inner = model.forward

    def forward(input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=False):
        if use_cache:
            return inner(input_ids, attention_mask, position_ids, past_key_values, use_cache)
        return type("Output", (), {"logits": torch.zeros(*input_ids.shape, len(letters))})

    model.forward = forward
    return model


def test_votes_are_drawn_and_written_once(tmp_path):
    votes = Votes(str(tmp_path / "new" / "people.jsonl"))
    assert {tuple(votes.names(votes.draw(["x", "y"]))) for _ in range(60)} == {("x", "y"), ("y", "x")}
    word, answers = (
        votes.draw(["x", "y"]),
        [[{"role": "assistant", "content": text}] for text in ("one\u2028", "\ud800")],
    )
    with pytest.raises(UserError, match="name"):
        votes.vote(word, "a", " ", asked("a"), answers)
    assert not votes.path.exists()
    for winner in "ab":
        assert votes.vote(word, winner, " Ann", asked("a"), answers) == votes.names(word)
    (row,) = rows(votes.path)
    assert row.pop("time") == pytest.approx(time.time(), abs=60)
    assert row == {
        "prompt": asked("a"),
        "models": votes.names(word),
        "responses": [answers[0], [{"role": "assistant", "content": "?"}]],
        "winner": "a",
        "judge": "person",
        "labeller": "ann",
    }
    with pytest.raises(UserError, match="unknown"):
        votes.vote("guessed", "a", "ann", asked("a"), answers)
    votes.path.unlink()
    votes.path.mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        votes.vote(votes.draw(["x", "y"]), "a", "ann", asked("a"), answers)


# ---- The page, with scripted models ----


@pytest.fixture
def opened(browser, tmp_path):  # noqa: F811
    """Serves stages, {name: (Talk, Talk with tools, base)}, and opens pages, which must not complain or
    reach outside."""
    import uvicorn

    servers, pages, faults = [], [], []

    def start(stages: dict, approve: bool = False, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {
            "first": list(stages)[-1],
            "system": "",
            "temperature": 0,
            "max_new_tokens": 400,
            "complete": False,
            "tools": ["search"],
            "approve": approve,
        }
        made = app(
            {name: Stage(*stage) for name, stage in stages.items()}, Votes(str(tmp_path / "people.jsonl")), settings
        )
        servers.append(uvicorn.Server(uvicorn.Config(made, port=port, log_level="error")))
        threading.Thread(target=servers[-1].run, daemon=True).start()
        while not servers[-1].started:
            time.sleep(0.01)
        return open_page(f"http://127.0.0.1:{port}/", **options)

    def open_page(url: str, **options):
        page = window.new_page(**{"bypass_csp": True, "viewport": {"width": 1100, "height": 800}, **options})
        page.on(
            "console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request", lambda request: None if request.url.startswith((url, "data:")) else faults.append(request.url)
        )
        page.goto(url)
        pages.append(page)
        return page

    with browser() as window:
        start.open_page = open_page
        yield start
        assert not faults, faults
    for server in servers:
        server.should_exit = True


def say(page, text: str) -> None:
    page.fill("#text", text)
    page.keyboard.press("Enter")
    done(page)


def done(page) -> None:
    page.wait_for_function("!stopper && !document.querySelector('.going')")


def test_a_call_and_its_result_are_seen_and_harmless(opened, letters):  # noqa: F811
    """Under the page's own policy, which forbids what playwright's wait_for_function does."""
    said = f"**Bold** {EVIL} ![x](http://evil.example/x.png) [l](javascript:alert(1))"
    model = scripted(letters, {"a": [f"<think>{EVIL}</think>Look.{search_for('who')}", said + END]})
    page = opened({"one": (Talk(model, letters, []), Talk(model, letters, [search]), False)}, bypass_csp=False)
    page.fill("#text", f"Question a. {EVIL}")
    page.keyboard.press("Enter")
    page.wait_for_selector(".html strong")
    assert page.inner_text(".call summary") == "search: who" and page.inner_text(".call .result") == search("who")
    assert page.inner_text(".think pre") == EVIL and EVIL in page.inner_text(".user")
    assert EVIL in page.locator(".html").last.inner_text()
    assert (
        page.evaluate("window.hacked === undefined")
        and page.locator("#log img, #log script, #log a[href^=javascript]").count() == 0
    )
    assert page.get_attribute("#log a", "rel") == "noopener noreferrer"
    policy = page.request.get(page.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    page.locator(".call summary").click()
    assert not page.is_visible(".call .result")


def still(sizes: list, within: float = 20.0) -> bool:
    """Whether nothing is added any more for half a second; a busy machine takes a while to hear of the stop."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        before = len(sizes)
        time.sleep(0.5)
        if len(sizes) == before:
            return True
    return False


def test_stop_stops_and_goes_on(opened, letters):  # noqa: F811
    model = scripted(letters, {"a": ["so " * 30_000, f"Fine.{END}"]})
    inner, prompts = model.forward, []

    def forward(input_ids, attention_mask, position_ids, past_key_values, use_cache):
        if input_ids.shape[1] > 1:
            prompts.append(letters.decode(input_ids[0]))
        time.sleep(0.005)
        return inner(input_ids, attention_mask, position_ids, past_key_values, use_cache)

    model.forward = forward
    page = opened({"one": (Talk(model, letters, []), None, False)})
    page.evaluate("$('most').value = 90000")
    for stop in (lambda: page.keyboard.press("Escape"), lambda: page.click("#stop")):
        page.fill("#text", "Question a.")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('.reply:last-child')?.innerText.includes('so so so')")
        stop()
        done(page)
        assert still(model.sizes)
        assert "stopped" in page.inner_text(".note") and "so so so" in page.inner_text(".reply")
        page.click("#new") if len(prompts) == 1 else None
    kept = page.evaluate("sides[0].messages.at(-1).content")
    say(page, "More?")
    assert page.locator(".reply").last.inner_text().endswith("Fine.")
    assert f"{kept}{END}\n<|im_start|>user\nMore?" in prompts[-1]


def test_a_client_that_leaves_ends_the_sampling(opened, letters):  # noqa: F811
    """Before the first token, and after some: the connection is closed, nothing else is said."""
    model, begun = scripted(letters, {"a": ["so " * 30_000]}), threading.Event()
    inner = model.forward

    @functools.wraps(inner)  # eval.generation.generate looks at what it takes
    def forward(*args, **kwargs):
        begun.set()
        time.sleep(0.01)
        return inner(*args, **kwargs)

    model.forward = forward
    port = int(opened({"one": (Talk(model, letters, []), None, False)}).url.split(":")[2].strip("/"))
    body = json.dumps({"model": "one", "prompt": asked("a"), "temperature": 0, "max_new_tokens": 90_000}).encode()
    for pieces in (0, 3):
        begun.clear()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            header = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: %d" % len(body)
            client.sendall(b"POST /reply HTTP/1.1\r\n" + header + b"\r\n\r\n" + body)
            assert begun.wait(60)
            for _ in range(pieces):
                assert client.recv(4096)
        before, deadline = -1, time.time() + 30  # a busy machine takes a while to see that the client has left
        while before != len(model.sizes) and time.time() < deadline:
            before = len(model.sizes)
            time.sleep(1)
        assert len(model.sizes) == before < 10_000


def test_bad_requests_are_told_in_one_line(opened, letters, tmp_path):  # noqa: F811
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "model", letters))
    page = opened({"one": (Talk(model, letters, []), None, False)})
    good = {"model": "one", "prompt": asked("a"), "temperature": 1, "max_new_tokens": 2}
    room, vocabulary = model.config.max_position_embeddings, len(letters)

    def ask(path: str, **changes) -> tuple[int, str]:
        body = json.dumps({**good, **changes})
        answer = page.request.post(page.url + path, data=body, headers={"Content-Type": "application/json"})
        return answer.status, "" if answer.ok else answer.json()["error"]

    assert ask("reply") == (200, "")
    temperatures = (float("nan"), float("inf"), -float("inf"), "NaN", "inf", -1, 1e-38, 1e-5, 1e300, "warm", None)
    messages = [{"role": role, "content": text} for role, text in (("user", "\ud800"), ("alien", "a"), ("user", 1))]
    bad = [("reply", {"temperature": value}, "") for value in temperatures]
    bad += [("reply", {"max_new_tokens": value}, "max_new_tokens") for value in (0, -1, 1.5, 10**9, 10**30)]
    bad += [("reply", {"prompt": value}, "") for value in ([], *([message] for message in messages))]
    bad += [("reply", {"model": "none"}, "no such model"), ("reply", {"pair": "none"}, "unknown")]
    bad += [("tokens", {"ids": [i], "written": [1]}, "ids") for i in (vocabulary, 2**40, 2**70, -1)]
    bad += [("tokens", {"ids": [1, 2], "written": [1]}, "written")]
    bad += [("tokens", {"ids": [1] * room, "written": [1] * room}, "positions")]
    bad += [("markdown", {"text": "\udfff"}, "surrogate"), ("markdown", {"text": "[" * 60_000}, "text")]
    bad += [("markdown", {"text": "[" * 3_000_000}, "bytes")]
    for path, changes, message in bad:
        begun = time.monotonic()
        status, error = ask(path, **changes)
        assert 400 <= status < 500, (path, str(changes)[:99], status)
        assert error and "\n" not in error and len(error) < 400 and message in error, (str(changes)[:99], error)
        assert time.monotonic() - begun < 30
    assert ask("tokens", ids=[vocabulary - 1], written=[1])[0] == 200
    for path in ("gradio_api/upload", "gradio_api/info", "config", "docs"):
        assert ask(path)[0] == 404
    assert page.request.get(page.url, headers={"Host": "evil.example"}).status == 421


ASKS = [
    Starter("Once upon", "a beginning", ("base",)),
    Starter("Question a.", "a fact", ("assistant",), right="7"),
    Starter("Question b.", "a search", ("assistant",), tools=("search",)),
    Starter("Question c.", "practice", ("reasoner",)),
]


@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1280, "light")])
def test_the_page_opens_with_questions_to_click(opened, letters, width, scheme):  # noqa: F811
    model = scripted(letters, {"b": [f"Look.{search_for('b')}", f"Found.{END}"]})
    talks = Talk(model, letters, []), Talk(model, letters, [search])
    stages = {name: (*talks, False, kind, ASKS) for name, kind in (("practised", "reasoner"), ("one", "assistant"))}
    stages = {"old": (talks[0], None, True, "base", ASKS), **stages}
    page = opened(stages, viewport={"width": width, "height": 800}, color_scheme=scheme)
    shown = lambda: page.locator("#asks button").all_inner_texts()  # noqa: E731
    assert shown() == ["a fact (right: 7)\nQuestion a.", "a search\nQuestion b."]
    assert page.inner_text("#intro") == "one answers questions. It may call search (see Settings)."
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#settings summary")
    page.uncheck("#tools")
    assert shown() == ["a fact (right: 7)\nQuestion a."] and "search" not in page.inner_text("#intro")
    page.check("#tools")
    page.click("#asks button:has-text('Question b.')")
    done(page)
    assert page.inner_text(".user") == "Question b." and page.inner_text(".call .result") == search("b")
    assert not page.is_visible("#starters")
    page.click("#new")
    assert page.is_visible("#asks button:has-text('Question a.')")
    page.select_option("#left", "practised")
    assert shown() == ["practice\nQuestion c."] and "practised problems" in page.inner_text("#intro")
    page.select_option("#left", "old")
    assert shown() == ["a beginning\nOnce upon"] and "never taught to answer" in page.inner_text("#intro")
    page.select_option("#blind", "any")
    assert shown()[0] == "practice\nQuestion c." and "their names are hidden" in page.inner_text("#intro")
    page.click("#see")
    assert not page.is_visible("#starters")


def test_blind_votes(opened, letters, tmp_path):  # noqa: F811
    replies = {"zebra": "I have stripes.", "yak": "I have hair."}
    stages = {}
    for name, text in replies.items():
        model = scripted_with_logits(letters, {"a": [text + END, f"Still.{END}"]})
        stages[name] = (Talk(model, letters, []), None, False)
    page = opened({**stages, "old": (*stages["yak"][:2], True)}, viewport={"width": 390, "height": 800})
    page.select_option("#blind", "any")
    answers, expected = [], []
    page.on("response", lambda response: answers.append(response))
    for winner, label in [("a", "Left"), ("b", "Right"), ("tie", "Tie"), ("tie", "Both are bad")]:
        answers.clear()
        say(page, "Question a.")
        say(page, "And?")
        page.click("#see")
        page.wait_for_selector("#panes .t")
        seen = page.inner_html("main") + "".join(f"{response.text()} {response.headers}" for response in answers)
        assert "Left" in seen and "stripes" in seen and "zebra" not in seen and "yak" not in seen
        page.click("#see")
        if not expected:
            page.fill("#name", " ")
            page.click(f"#vote button:text-is('{label}')")
            page.wait_for_function("$('alert').textContent.includes('your name')")
            page.fill("#name", "Ann")
        page.click(f"#vote button:text-is('{label}')")
        page.wait_for_function("voted")
        assert not page.is_visible("#vote") and not page.is_visible("#alert")
        names = page.locator(".round:first-child .reply .name").all_inner_texts()
        assert [
            replies[name] in text
            for name, text in zip(names, page.locator(".round:first-child .reply").all_inner_texts())
        ] == [True, True]
        expected.append((winner, names))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = rows(tmp_path / "people.jsonl")
    assert [(row["winner"], row["models"]) for row in found] == expected
    for row in found:
        assert row["prompt"] == asked("a") and row["labeller"] == "ann" and row["judge"] == "person"
        for name, response in zip(row["models"], row["responses"]):
            assert [m["content"] for m in response] == [replies[name], "And?", "Still."]


def test_two_sides_two_tabs_and_the_settings(opened, letters):  # noqa: F811
    def model(text):
        return scripted_with_logits(letters, {"a": [f"{text} a.{END}"] * 2, "b": [f"{text} b.{END}"] * 2})

    stages = {name: (Talk(model(name), letters, []), None, False) for name in ("one", "two")}
    page = opened(stages, color_scheme="dark")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    other = opened.open_page(page.url)
    for tab in (page, other):
        tab.select_option("#left", "one")
        tab.select_option("#right", "two")
    page.click("#settings summary")
    page.fill("#system", "Be brief.")
    page.fill("#text", "Question a.")
    other.fill("#text", "Question b.")
    page.click("#send")
    other.click("#send")
    for tab, letter in ((page, "a"), (other, "b")):
        done(tab)
        assert [text.splitlines()[-1] for text in tab.locator(".reply").all_inner_texts()] == [
            f"one {letter}.",
            f"two {letter}.",
        ]
    page.locator(".copy").last.click()
    assert page.evaluate("navigator.clipboard.readText()") == "two a."
    page.click("#again")
    done(page)
    assert page.locator(".round").count() == 1 and page.locator(".reply").count() == 2
    say(page, "Line one")
    page.fill("#text", "x")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("y")
    assert page.input_value("#text") == "x\ny" and page.locator(".round").count() == 2
    page.click("#see")
    page.wait_for_selector("#panes .t")
    seen = "".join(page.locator("#panes .one").first.locator(".t").all_inner_texts())
    assert seen.startswith("<|im_start|>system↵Be·brief.<|im_end|>") and seen.count("one·a.") == 2
    page.locator("#panes .t.written").first.hover()
    assert re.fullmatch(r"token \d+: id \d+, probability 0\.\d+, written by the model", page.inner_text("#about"))


# ---- The command ----


@pytest.fixture(scope="module")
def run(tmp_path_factory, letters):  # noqa: F811
    """A run with a base model, its child and a reward model."""
    folder = tmp_path_factory.mktemp("run")
    for name, parent in (("base", None), ("assistant", "elsewhere/base"), ("areward", "elsewhere/assistant")):
        save_model(folder / name, letters, reward=name == "areward")
        (folder / name / "stage.json").write_text(json.dumps({"parent": parent}))
    return folder


def test_the_command_serves_a_run(opened, run, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "recipes.chat",
        "--web",
        "--run",
        str(run),
        "--port",
        str(port),
        "--max_new_tokens",
        "30",
        "--temperature",
        "0",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == f"base, assistant: http://127.0.0.1:{port} (Ctrl-C ends)\n"
        page = opened.open_page(f"http://127.0.0.1:{port}/")
        for path in ("gradio_api/upload", "gradio_api/info", "gradio_api/queue/join", "config", "docs"):  # Gradio's
            assert page.request.post(page.url + path, data="{}").status == 404
            assert page.request.get(page.url + path).status == 404
        assert page.request.get(page.url, headers={"Host": "evil.example"}).status == 421
        page.click("#asks button:has-text('Who are you?')")
        done(page)
        assert "30 tokens" in page.inner_text(".meta") and "cut" in page.inner_text(".note")
        assert (
            0 < page.evaluate("Number(document.querySelector('.meta').textContent.match(/[0-9.]+/)[0])") < 5
        )  # seconds, and a machine may be busy
        page.evaluate("$('most').value = 1")
        say(page, "word " * 5000)
        assert "no room: this conversation has " in page.locator(".note.bad").inner_text() and page.input_value(
            "#text"
        ).startswith("word")
        page.select_option("#left", "base")
        assert not page.is_visible("#system") and page.is_disabled("#complete")
        page.evaluate("$('most').value = 5")
        say(page, "Once upon")
        first = page.input_value("#text")
        assert first.startswith("Once upon") and len(first) > 9
        page.click("#send")
        done(page)
        assert page.input_value("#text").startswith(first) and page.locator(".round").count() == 1
    finally:
        process.terminate()
        process.wait()
    assert not (run / "arena").exists()  # nobody voted


def test_bad_input_is_one_line(run, tmp_path, capsys):
    paths, started_from = language_models(str(run))
    assert [*paths] == ["base", "assistant"] and started_from >= {"base"}
    (tmp_path / "empty").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for argv, message in [
            (["--web"], "needs one of --run"),
            (["--web", "--run", str(run), "--model", str(run / "base")], "needs one of --run"),
            (["--web", "--run", str(tmp_path / "none")], "does not exist"),
            (["--web", "--run", str(tmp_path / "empty")], "holds no stage"),
            (["--web", "--model", str(tmp_path / "none")], "does not exist"),
            (["--web", "--models", "a=x", "a=y"], "each name once"),
            (["--web", "--model", str(run / "base"), "--system", "Be brief."], "no place for --system"),
            (["--web", "--model", str(run / "base"), "--port", "0"], "port must lie"),
            (["--web", "--model", str(run / "base"), "--votes", str(tmp_path)], "is a folder"),
            (["--web", "--model", str(run / "base"), "--port", str(taken.getsockname()[1])], "choose another --port"),
            (["--model", str(run / "base"), "--port", "8000"], "--port goes with --web"),
            ([], "--model names the folder"),
        ]:
            with pytest.raises(SystemExit) as stopped:
                main(argv)
            error = capsys.readouterr().err
            assert (
                stopped.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and message in error
            ), error


def test_a_stage_without_a_place_for_calls_answers_without_tools(chat_model, tmp_path, capsys):
    """Of a run; tools that were asked for by name are an error instead."""
    from eval.cli import UserError
    from eval.generation.models import load_tokenizer
    from eval.tools.python import python
    from recipes.chat_ui.web import load_stage

    folder = tmp_path / "run" / "hub"
    shutil.copytree(chat_model, folder)
    tokenizer = load_tokenizer(str(folder))
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    stage = load_stage(str(folder), [python], tmp_path / "run", insist=False)
    assert stage.tools is None and not stage.base
    assert "no place for calls of tools" in capsys.readouterr().out
    with pytest.raises(UserError, match="no place for tool calls"):
        load_stage(str(folder), [python], tmp_path / "run", insist=True)
