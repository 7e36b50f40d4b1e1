"""The labelling app: its journal, who gets what, what comes out; and its page in headless Chromium, with two people
and a kill."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT, rows
from datasets import load_dataset

from data_prep.label import main
from data_prep.labelling.labels import Labels, read_items
from eval.cli import UserError

CHROMIUM = next(
    (
        path
        for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
        if os.path.exists(path)
    ),
    None,
)


def candidates(path, count=20, k=4):
    made = [
        {
            "prompt": [{"role": "user", "content": f"Say number {i}."}],
            "responses": [f"answer {i}-{j}" for j in range(k)],
            "split": "train",
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def drafts(path, count=6):
    made = [
        {
            "messages": [
                {"role": "user", "content": f"What is {i} + {i}?"},
                {"role": "assistant", "content": f"It is <b>{i}</b>."},
            ],
            "status": "draft",
            "provenance": {"row": i},
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def opened(folder, path, twice=0.0) -> Labels:
    task, items = read_items(str(path))
    return Labels(folder, items, task, twice)


def action(item, who="ann", kind="rank", **more) -> dict:
    return {"id": os.urandom(8).hex(), "labeller": who, "item": item, "kind": kind, **more}


def close(labels):
    labels.held.close()
    labels.journal.close()


# ---- The journal ----


def test_the_state_is_the_journal_read_again(tmp_path):
    path = candidates(tmp_path / "items.jsonl")
    labels = opened(tmp_path / "out", path, twice=0.5)
    rng = random.Random(0)
    for who in ("ann", "bob") * 8:
        item = labels.next(who)
        ranking = [[0, 1], [2], [3]] if rng.random() < 0.3 else [[i] for i in rng.sample(range(4), 4)]
        labels.act(action(item, who, **({"ranking": ranking} if rng.random() < 0.8 else {"kind": "skip"})))
    before = (
        labels.labels,
        labels.leases,
        labels.skipped,
        labels.history,
        labels.seen,
        labels.progress("ann"),
        labels.rows(),
    )
    close(labels)
    again = opened(tmp_path / "out", path, twice=0.5)
    assert before == (
        again.labels,
        again.leases,
        again.skipped,
        again.history,
        again.seen,
        again.progress("ann"),
        again.rows(),
    )


def test_a_line_cut_short_was_never_saved_and_a_broken_one_is_told(tmp_path):
    path = candidates(tmp_path / "items.jsonl")
    labels = opened(tmp_path / "out", path)
    item = labels.next("ann")
    labels.act(action(item, ranking=[[0], [1], [2], [3]]))
    close(labels)
    journal = tmp_path / "out/labels.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"id": "half')
    again = opened(tmp_path / "out", path)
    assert again.labels.keys() == {item} and journal.read_bytes() == whole
    close(again)
    journal.write_bytes(whole + b"{}\n")
    with pytest.raises(UserError, match="labels.jsonl, line 3 is not an action"):
        opened(tmp_path / "out", path)


def test_an_action_that_comes_twice_counts_once_and_the_last_label_counts(tmp_path):
    labels = opened(tmp_path / "out", candidates(tmp_path / "items.jsonl"))
    item = labels.next("ann")
    one = action(item, ranking=[[0], [1], [2], [3]])
    for _ in range(3):
        labels.act(one)
    assert len((tmp_path / "out/labels.jsonl").read_text().splitlines()) == 2  # open, rank
    labels.act(action(item, ranking=[[3], [2], [1, 0]]))
    assert [row["ranking"] for row in labels.rows()] == [[[3], [2], [1, 0]]] and labels.progress("ann")["yours"] == 1


def test_what_cannot_be_stored_is_told_and_not_stored(tmp_path):
    labels = opened(tmp_path / "out", candidates(tmp_path / "items.jsonl"))
    item, size = labels.next("ann"), (tmp_path / "out/labels.jsonl").stat().st_size
    for wrong, message in [
        (action(item, ranking=[[0], [1]]), "must name all 4"),
        (action(item, ranking=[[0], [1], [2], [2]]), "each once"),
        (action(item), "must name indices"),
        (action("nothing", ranking=[]), "one of the 20 items"),
        (action(item, kind="accept", text="x"), "kind must be one of open, rank, skip"),
        (action(item, who=" ", kind="skip"), "labeller must be a name"),
        (action(item, who=["ann"], kind="skip"), "labeller must be a name"),
        (action(item, kind="skip") | {"id": 5}, "id must be"),
        (action([item], kind="skip"), "one of the 20 items"),
        (action(item, kind="\ud800"), "kind must be one of"),
        (action(item, who="\ud800", kind="skip"), "labeller must be a name"),
    ]:
        with pytest.raises(UserError, match=message):
            labels.act(wrong)
    assert (tmp_path / "out/labels.jsonl").stat().st_size == size and not labels.labels
    with pytest.raises(UserError, match="another process is at work"):
        opened(tmp_path / "out", tmp_path / "items.jsonl")


# ---- Who gets what ----


def test_everyone_gets_items_of_their_own_and_some_are_shared(tmp_path):
    labels = opened(tmp_path / "out", candidates(tmp_path / "items.jsonl", 200), twice=0.2)
    shared = sum(labels.wanted(item) == 2 for item in labels.items)
    assert 20 <= shared <= 60
    people, given = ["ann", "bob", "cy"], []
    while turn := [(who, item) for who in people if (item := labels.next(who))]:
        for who, item in turn:
            assert labels.next(who) == item  # a page that is loaded again shows the same
            labels.act(action(item, who, ranking=[[0], [1], [2], [3]]))
            given.append((item, who))
    assert len(given) == len(set(given)) == 200 + shared == labels.progress("ann")["done"]
    assert labels.agreement() == {"share": 1.0, "n": 6 * shared}


def test_what_was_skipped_comes_again_when_asked_for(tmp_path):
    labels = opened(tmp_path / "out", candidates(tmp_path / "items.jsonl", 2))
    first = labels.next("ann")
    labels.act(action(first, kind="skip"))
    second = labels.next("ann")
    assert second != first and labels.next("bob") == first
    labels.act(action(second, ranking=[[0], [1], [2], [3]]))
    assert labels.next("ann") is None and labels.next("ann", skipped=True) is None  # bob has it
    labels.leases[first]["bob"] -= 3600
    assert labels.next("ann", skipped=True) == first


def test_skipped_items_come_in_turn_and_a_label_is_no_skip(tmp_path):
    labels = opened(tmp_path / "out", candidates(tmp_path / "items.jsonl", 3))
    for item in labels.items:
        labels.act(action(item, kind="skip"))
    turns = []
    for _ in range(6):
        turns.append(labels.next("ann", skipped=True))
        labels.act(action(turns[-1], kind="skip"))
    assert turns == [*labels.items] * 2
    labels.act(action(turns[0], ranking=[[0], [1], [2], [3]]))
    labels.act(action(turns[0], kind="skip"))
    assert labels.progress("Ann ")["skipped"] == 2 and labels.progress("ann")["yours"] == 1


def test_a_folder_may_hold_labels_of_other_items(tmp_path):
    labels = opened(tmp_path / "out", drafts(tmp_path / "drafts.jsonl"), twice=1.0)
    for who in ("ann", "bob"):
        labels.act(action(next(iter(labels.items)), who, kind="accept", text="yes"))
    close(labels)
    labels = opened(tmp_path / "out", candidates(tmp_path / "items.jsonl"), twice=1.0)
    assert labels.progress("ann") == {
        "done": 0,
        "wanted": 40,
        "yours": 0,
        "skipped": 0,
        "people": 0,
        "agreement": {"share": None, "n": 0},
    }
    assert not labels.rows() and not labels.counts()


def test_agreement_is_of_pairs_that_both_order(tmp_path):
    labels = opened(tmp_path / "out", candidates(tmp_path / "items.jsonl", 1), twice=1.0)
    (item,) = labels.items
    labels.act(action(item, "ann", ranking=[[0], [1], [2], [3]]))
    labels.act(action(item, "bob", ranking=[[1], [0], [2, 3]]))
    assert labels.agreement() == {"share": 4 / 5, "n": 5}


# ---- What comes out ----


def test_rankings_become_pairs(tmp_path, capsys):
    path = candidates(tmp_path / "items.jsonl", 30)
    labels = opened(tmp_path / "out", path)
    while item := labels.next("ann"):
        labels.act(action(item, ranking=[[2], [0, 1], [3]]))
    close(labels)
    main(["--items", str(path), "--output_dir", str(tmp_path / "out"), "--export", str(tmp_path / "rankings.jsonl")])
    assert "30 rows from 30 rank" in capsys.readouterr().out
    assert (
        load_dataset("json", data_files=str(tmp_path / "rankings.jsonl"), split="train", cache_dir=str(tmp_path))[
            "ranking"
        ][:]
        == [[[2], [0, 1], [3]]] * 30
    )
    from data_prep.preferences import given_rankings, rows_of

    pairs = [pair for row in given_rankings(str(tmp_path / "rankings.jsonl")) for pair in rows_of(row, "all", "here")]
    assert len(pairs) == 30 * 5 and {
        pair["chosen"][0]["content"][-1] + pair["rejected"][0]["content"][-1] for pair in pairs
    } == {"20", "21", "23", "03", "13"}


def test_accepted_drafts_become_conversations(tmp_path):
    path = drafts(tmp_path / "drafts.jsonl")
    labels = opened(tmp_path / "out", path, twice=1.0)
    first, second, third, *_ = labels.items
    labels.act(action(first, kind="edit", text="half"))
    assert labels.shown(first, "ann")["text"] == "half" and labels.shown(first, "bob")["text"] == "It is <b>0</b>."
    labels.act(action(first, kind="accept", text=" It is 0. "))
    labels.act(action(second, kind="accept", text="It is <b>1</b>."))
    labels.act(action(third, kind="accept", text="It is 4."))
    labels.act(action(third, "bob", kind="reject"))
    assert labels.agreement() == {"share": 0.0, "n": 1}
    close(labels)
    main(["--items", str(path), "--output_dir", str(tmp_path / "out"), "--export", str(tmp_path / "accepted.jsonl")])
    given = rows(tmp_path / "accepted.jsonl")
    assert [row["messages"][-1]["content"] for row in given] == ["It is 0.", "It is <b>1</b>."]
    assert [row["provenance"] for row in given] == [
        {"row": 0, "labeller": "ann", "edited": True},
        {"row": 1, "labeller": "ann", "edited": False},
    ]
    assert {row["status"] for row in given} == {"accepted"}


def test_bad_input_is_one_line(tmp_path, capsys):
    good = candidates(tmp_path / "items.jsonl")
    (tmp_path / "one.jsonl").write_text('{"prompt": [{"role": "user", "content": "?"}], "responses": ["alone"]}\n')
    (tmp_path / "text.jsonl").write_text('{"messages": [{"role": "user", "content": "?"}]}\n')
    half = tmp_path / "half.jsonl"
    half.write_text('{"prompt": [{"role": "user", "content": "?"}], "responses": ["a\\ud800", "b"]}\n')
    for argv, message in [
        (["--items", str(tmp_path / "none.jsonl")], "does not exist"),
        (["--items", str(tmp_path / "one.jsonl")], "line 1 is nothing to rank"),
        (["--items", str(tmp_path / "text.jsonl")], "line 1 is nothing to write"),
        (["--items", str(good), "--twice", "2"], "between 0 and 1"),
        (["--items", str(good), "--push_to_hub", "me/x"], "goes with export"),
        (["--items", str(good), "--guidelines", str(tmp_path / "none.md")], "does not exist"),
        (
            ["--items", str(good), "--export", str(tmp_path / "x.jsonl")],
            "give the --output_dir that the labels are in",
        ),
        (["--items", str(good), "--port", "70000"], "port must lie"),
        (["--items", str(good), "--guidelines", str(tmp_path)], "cannot be read as text"),
        (["--items", str(half)], "half a character"),
    ]:
        with pytest.raises(SystemExit) as exit_:
            main([*argv, "--output_dir", str(tmp_path / "out")])
        error = capsys.readouterr().err
        assert exit_.value.code == 2 and message in error and error.count("\n") == 1
    labels = opened(tmp_path / "out", good)
    labels.act(action(labels.next("ann"), ranking=[[0], [1], [2], [3]]))
    close(labels)
    for target in (tmp_path / "out/labels.jsonl", good, tmp_path):
        with pytest.raises(SystemExit):
            main(["--items", str(good), "--output_dir", str(tmp_path / "out"), "--export", str(target)])
        assert "give another file" in capsys.readouterr().err
    main(["--items", str(good), "--output_dir", str(tmp_path / "out"), "--export", str(tmp_path / "new/x.jsonl")])
    assert len(rows(tmp_path / "new/x.jsonl")) == 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as exit_:
            main(["--items", str(good), "--output_dir", str(tmp_path / "out2"), "--port", str(taken.getsockname()[1])])
    assert exit_.value.code == 2 and "choose another --port" in capsys.readouterr().err


# ---- The page ----


class Server:
    """The app in a process of its own, which can be killed and started again at the same port."""

    def __init__(self, items, out, *more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [
            sys.executable,
            "-m",
            "data_prep.label",
            "--items",
            str(items),
            "--output_dir",
            str(out),
            "--port",
            str(self.port),
            *more,
        ]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, cwd=ROOT, stdout=subprocess.DEVNULL)
        for _ in range(1200):
            time.sleep(0.1)
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
        raise TimeoutError

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def serve():
    """Starts servers, and ends them with the test."""
    servers = []

    def start(*args):
        servers.append(Server(*args))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def browser():
    """Starts headless Chromium; each thread needs one of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium: apt install chromium")

    class Browser:
        def __enter__(self):
            self.driver = playwright.sync_playwright().start()
            arguments = [
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ]
            self.browser = self.driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
            return self

        def new_page(self, **options):
            page = self.browser.new_page(**options)
            page.set_default_timeout(180_000)  # a machine may be busy
            return page

        def __exit__(self, *error):
            self.browser.close()
            self.driver.stop()

    return Browser


def test_two_people_rank_200_and_the_server_is_killed_in_the_middle(browser, serve, tmp_path):
    """One by keyboard, one by mouse. What each put in the page is what comes out: nothing lost, nothing twice."""
    items = candidates(tmp_path / "items.jsonl", 180, k=3)
    server = serve(items, tmp_path / "out", "--twice", "0.12")
    meant: dict[str, dict[str, list[str]]] = {"ann": {}, "bob": {}}
    errors, enough = [], threading.Event()

    def work(who):
        try:
            with browser() as b:
                page = b.new_page()
                page.goto(f"http://127.0.0.1:{server.port}/")
                page.fill("#name", who)
                page.click("text=Begin")
                for turn in range(1000):
                    page.wait_for_function("!$('end').hidden || !$('work').hidden && !busy")
                    if page.is_visible("#end"):
                        return
                    prompt = page.inner_text("#turns .said")
                    cards = [
                        (card["n"], card["text"])
                        for card in page.evaluate("order.map((r) => ({n: r.number, text: r.text}))")
                    ]
                    best = sorted(cards, key=lambda card: card[1] if turn % 2 else card[1][::-1])
                    if who == "ann":
                        for number, _ in best:
                            page.keyboard.press(str(number))
                        page.keyboard.press("Enter")
                    else:
                        for place, (number, _) in enumerate(best):
                            while (
                                at := page.evaluate("(n) => order.findIndex((r) => r.number === n)", number)
                            ) > place:
                                page.locator("li.card").nth(at).get_by_label("better").click()
                        page.click("#save" if page.evaluate("touched") else "#keep")
                    meant[who][prompt] = [text for _, text in best]
                    if sum(map(len, meant.values())) > 80:
                        enough.set()
        except BaseException as error:
            errors.append(error)
            enough.set()

    people = [threading.Thread(target=work, args=(who,)) for who in meant]
    for person in people:
        person.start()
    enough.wait(600)
    server.kill()
    time.sleep(2)
    server.start()
    for person in people:
        person.join(600)
    server.kill()
    assert not errors, errors
    labels = opened(tmp_path / "out", items, twice=0.12)
    wanted = sum(map(labels.wanted, labels.items))
    assert wanted >= 200 and sum(len(x) for x in labels.labels.values()) == wanted
    found = {who: {} for who in meant}
    for item, by in labels.labels.items():
        assert len(by) == labels.wanted(item)
        for who, label in by.items():
            row = labels.items[item]
            found[who][row["prompt"][0]["content"]] = [row["responses"][i] for (i,) in label["ranking"]]
    assert found == meant and min(map(len, meant.values())) > 20
    ids = [row["id"] for row in rows(tmp_path / "out/labels.jsonl")]
    assert (
        len(ids) == len(set(ids))
        and sum(row["kind"] == "rank" for row in rows(tmp_path / "out/labels.jsonl")) == wanted
    )


def test_drag_tie_skip_and_back(browser, serve, tmp_path):
    server = serve(candidates(tmp_path / "items.jsonl", 3), tmp_path / "out")
    with browser() as b:
        page = b.new_page(viewport={"width": 900, "height": 900})
        page.goto(f"http://127.0.0.1:{server.port}/?labeller=ann")
        page.wait_for_selector("li.card")
        shown = lambda: page.evaluate("order.map((r) => r.number)")  # noqa: E731
        assert shown() == [1, 2, 3, 4]
        page.locator("li.card").nth(3).drag_to(page.locator("li.card").nth(0))
        assert shown() == [4, 1, 2, 3]
        page.locator("li.card").nth(1).locator(".said").click()
        page.keyboard.press("Shift+ArrowDown")
        assert shown() == [4, 2, 1, 3]
        page.keyboard.press("=")  # 1 is as good as 2
        page.locator("li.tie button").nth(0).click()  # 2 is as good as 4
        page.locator("li.tie button").nth(0).click()  # and is not
        places = [text.strip(".") for text in page.locator(".place").all_inner_texts()]
        assert places == ["1", "2", "2", "4"]
        page.keyboard.press("Enter")
        page.wait_for_function(
            "!busy && $('counts').textContent.includes('1 yours') && document.body.textContent.includes('Say"
            " number 1')"
        )
        page.keyboard.press("s")
        page.wait_for_function("shown && !busy && document.body.textContent.includes('Say number 2')")
        page.keyboard.press("z")
        page.wait_for_function("!busy && order.length && order[0].number === 4")
        assert shown() == [4, 2, 1, 3] and page.evaluate("equal") == [False, False, True, False]
        page.reload()
        page.wait_for_function("shown && !busy && document.body.textContent.includes('Say number 2')")
        page.click("#keep")
        page.wait_for_selector("#end:not([hidden])")
        page.click("#again")
        page.wait_for_selector("li.card")
        page.click("#keep")
        page.wait_for_function("!$('end').hidden && $('rest').textContent === 'All labels are there.'")
    server.kill()
    labels = opened(tmp_path / "out", tmp_path / "items.jsonl")
    first = next(iter(labels.items))
    order = [r["index"] for r in labels.shown(first, "ann")["responses"]]
    assert labels.labels[first]["ann"]["ranking"] == [[order[3]], [order[1], order[0]], [order[2]]]
    assert len(labels.rows()) == 3


def test_an_order_that_nobody_made_is_not_saved(browser, serve, tmp_path):
    server = serve(candidates(tmp_path / "items.jsonl", 5), tmp_path / "out", "--twice", "1")
    saved = lambda: [row["kind"] for row in rows(tmp_path / "out/labels.jsonl")].count("rank")  # noqa: E731
    with browser() as b:
        page = b.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/?labeller=ann")
        for path in ("gradio_api/upload", "gradio_api/info", "config"):  # which Gradio brings when it is launched
            assert page.request.post(f"http://127.0.0.1:{server.port}/{path}", data="{}").status == 404
        evil = {"headers": {"Host": "evil.example"}, "data": "{}"}
        assert page.request.post(f"http://127.0.0.1:{server.port}/act", **evil).status == 421
        task = page.inner_text("#task")
        assert "5 items, 5 of them for two people, to measure how far people agree: 10 labels." in task
        page.wait_for_selector("li.card")
        for _ in range(5):
            page.keyboard.press("Enter")
        page.wait_for_function("$('alert').textContent.includes('Nothing was moved')")
        page.keyboard.press("Shift+ArrowUp")  # the first can go no higher
        page.keyboard.press("Enter")
        page.locator("li.card").nth(1).drag_to(page.locator("li.card").nth(1))
        assert page.is_disabled("#save") and page.evaluate("!touched && !busy && !pending().length") and not saved()
        for number, act in enumerate(("1", "Shift+ArrowDown", "k"), 1):
            page.keyboard.press(act)
            if act != "k":
                assert not page.is_visible("#keep")
                page.keyboard.press("Enter")
            page.wait_for_function(f"!busy && $('counts').textContent.includes('{number} yours')")
            assert saved() == number and page.is_disabled("#save") and not page.is_visible("#alert")
        page.keyboard.press("z")  # one's own order is there to be saved again
        page.wait_for_function("!busy && touched")
        assert page.is_enabled("#save")


def test_two_tabs_of_one_browser_lose_nothing(browser, serve, tmp_path):
    """What is not sent yet is kept where both tabs see it: each may send the other's, and must put away only what was
    sent."""
    server = serve(candidates(tmp_path / "items.jsonl", 4), tmp_path / "out")
    with browser() as b:
        context = b.browser.new_context()
        tabs = ann, bob = context.new_page(), context.new_page()
        for page, who in zip(tabs, ("ann", "bob")):
            page.goto(f"http://127.0.0.1:{server.port}/?labeller={who}")
            page.wait_for_selector("li.card")
        ann.route("**/act", lambda route: route.abort())
        bob.route(
            "**/act",
            lambda route: route.abort() if '"labeller":"bob"' in route.request.post_data else route.continue_(),
        )
        for page in tabs:
            page.click("#keep")
            page.wait_for_selector("#alert:not([hidden])")
        bob.wait_for_function(
            "pending().length === 1"
        )  # bob's tab has sent ann's action, and its own does not get through
        ann.unroute("**/act")
        ann.wait_for_function("pending().length === 0")
    server.kill()
    labels = opened(tmp_path / "out", tmp_path / "items.jsonl")
    assert sorted(row["labeller"] for row in labels.rows()) == ["ann", "bob"]


def test_drafts_are_edited_beside_the_guidelines(browser, serve, tmp_path):
    path = drafts(tmp_path / "drafts.jsonl", 4)
    server = serve(path, tmp_path / "out", "--twice", "0")
    with browser() as b:
        page = b.new_page(viewport={"width": 1200, "height": 800})
        page.goto(f"http://127.0.0.1:{server.port}/?labeller=ann")
        page.wait_for_selector("#text")
        page.wait_for_function("shown && !busy")
        assert page.input_value("#text") == "It is <b>0</b>." and "What a good answer is" in page.inner_text("aside")
        page.fill("#text", "It is 0, <img src=x onerror=alert(1)>.")
        page.wait_for_function("pending().length === 0 && shown.text.includes('img')")
        page.reload()  # what was typed is still there
        page.wait_for_function("shown && !busy && $('text').value.includes('img')")
        page.keyboard.press("Control+Enter")
        page.wait_for_function("!busy && $('text').value.includes('1')")
        page.keyboard.press("Alt+r")
        page.wait_for_function("!busy && $('text').value.includes('2')")
        page.click("#accept")
        page.wait_for_function("!busy && $('text').value.includes('3')")
        page.fill("#text", "  ")
        page.click("#accept")
        page.wait_for_function("$('alert').textContent.includes('text must be the answer')")
        page.click("#reject")
        page.wait_for_selector("#end:not([hidden])")
    server.kill()
    labels = opened(tmp_path / "out", path)
    assert [row["messages"][-1]["content"] for row in labels.rows()] == [
        "It is 0, <img src=x onerror=alert(1)>.",
        "It is <b>2</b>.",
    ]
    assert labels.counts() == {"accept": 2, "reject": 2}
