"""A person decides on each call before it runs: in the terminal, through the page's desk, and on the page."""

import re
import threading

import pytest
from test_chat import chat  # noqa: F401
from test_chat_web import opened, search  # noqa: F401
from test_generate_tools import END, scripted, search_for, tokenizer  # noqa: F401
from test_generate_tools import tokenizer as letters  # noqa: F401
from test_label import browser  # noqa: F401

from eval.cli import UserError
from recipes.chat_ui.approve import Approval, Call, Decision, Desk, Refused, StopJob, read_arguments
from recipes.chat_ui.session import Talk

ran = []


def look_up(query: str) -> str:
    """Look something up.

    Args:
        query: what
    """
    ran.append(query)
    return f"nothing about {query}"


look_up.__name__ = "search"
TOOL = ("--tools", f"{__name__}:look_up", "--approve")


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


def call_of(query: str, name: str = "search") -> dict:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": name, "arguments": {"query": query}}}],
    }


# ---- The decisions themselves ----


def test_a_call_runs_as_it_was_decided():
    decisions = iter([Decision("allow"), Decision("edit", {"query": "b2"}), Decision("refuse")])
    asked = []
    approval = Approval(lambda call: asked.append(call) or next(decisions))
    tool = approval.guarded(look_up)
    for query in "abc":
        approval.decide(call_of(query))
    assert tool(query="a") == "nothing about a"
    assert tool(query="b") == '(a person changed this call to {"query": "b2"}) nothing about b2'
    with pytest.raises(Refused):
        tool(query="c")
    assert ran == ["a", "b2"] and [(call.number, call.name) for call in asked] == [(n, "search") for n in (1, 2, 3)]
    assert approval.told() == "a person decided 3 times: 1 allowed, 1 edited, 1 refused"


def test_without_a_decision_nothing_runs():
    approval = Approval(lambda call: Decision("allow"))
    tool = approval.guarded(look_up)
    with pytest.raises(Refused):
        tool(query="a")
    approval.decide(call_of("a"))
    approval.begin()  # the decision was on another job
    with pytest.raises(Refused):
        tool(query="a")
    approval.decide(call_of("x", name="unknown"))
    with pytest.raises(Refused):
        tool(query="a")
    assert not ran


def test_what_a_decision_can_be():
    for kind, arguments in (("perhaps", None), ("edit", None), ("allow", {})):
        with pytest.raises(ValueError, match="decision|edit"):
            Decision(kind, arguments)
    assert read_arguments("new", {"query": "old"}) == {"query": "new"}
    assert read_arguments('{"a": 1, "b": 2}', {"a": 0, "b": 0}) == {"a": 1, "b": 2}
    assert read_arguments('{"a": 1}', {"a": 0, "b": 0}) is None
    assert read_arguments("a b", {"a": 0, "b": 0}) is None


# ---- In the terminal ----


def test_in_the_terminal(chat):  # noqa: F811
    turns = [search_for(query) for query in "abc"]
    out = chat({"a": [*turns, f"Fine.{END}"]}, "Question a.\n\ne\nb2\nn\n", *TOOL)
    assert ran == ["a", "b2"]
    assert [int(n) for n in re.findall(r"\| call (\d) · \d+ s · run search\?", out)] == [1, 2, 3]
    assert "error: a person refused this call" in out
    assert out.endswith("Fine.\n(a person decided 3 times: 1 allowed, 1 edited, 1 refused)\n")


def test_a_person_stops_the_job_and_the_next_one_begins_anew(chat):  # noqa: F811
    turns = [search_for("a"), search_for("b"), f"Fine.{END}"]
    out = chat({"a": turns}, "Question a.\ny\ns\nQuestion a.\n", *TOOL)
    assert "(stopped by a person; a person decided 1 time: 1 allowed)" in out
    assert ran == ["a"] and out.endswith("(stopped by a person)\n")  # the end of the input stops the second one


def test_there_must_be_something_to_approve(chat, capsys):  # noqa: F811
    with pytest.raises(SystemExit) as stopped:
        chat({"": [f"Fine.{END}"]}, "", "--approve")
    assert stopped.value.code == 2 and "name some with --tools" in capsys.readouterr().err


# ---- On the page ----


def test_a_desk_hands_on_what_the_page_says():
    desk, stopped, events = Desk(), threading.Event(), []
    call = Call(1, 0.5, "search", {"query": "a"})
    for given in (Decision("refuse"), None):

        def put(event, given=given):
            events.append(event["ask"])
            desk.decide(event["ask"]["ticket"], given)

        if given:
            assert desk.ask(put, stopped, call) == given
        else:
            with pytest.raises(StopJob):
                desk.ask(put, stopped, call)
    assert events[0]["name"] == "search" and events[0]["ticket"] != events[1]["ticket"]
    with pytest.raises(UserError, match="waits for no decision"):
        desk.decide(events[0]["ticket"], Decision("allow"))
    stopped.set()
    with pytest.raises(StopJob):
        desk.ask(events.append, stopped, call)
    assert not desk.waiting


@pytest.mark.slow
def test_on_the_page(opened, letters):  # noqa: F811
    turns = [search_for("a"), search_for("b"), search_for("c"), f"Fine.{END}"]
    model = scripted(letters, {"a": turns})
    page = opened({"one": (Talk(model, letters, []), Talk(model, letters, [look_up]), False)}, approve=True)
    page.fill("#text", "Question a.")
    page.keyboard.press("Enter")
    page.click("text=Allow")
    page.wait_for_function("document.querySelector('.ask p')?.textContent.startsWith('Call 2')")
    page.fill(".ask textarea", "b2")
    page.click("text=Run as edited")
    page.wait_for_function("document.querySelector('.ask p')?.textContent.startsWith('Call 3')")
    assert ran == ["a", "b2"]
    page.click("text=Refuse")
    page.wait_for_selector("text=a person decided 3 times: 1 allowed, 1 edited, 1 refused")
    assert ran == ["a", "b2"] and page.locator(".ask").count() == 0
    page.click("#new")
    page.fill("#text", "Question a.")
    page.keyboard.press("Enter")
    page.click("text=Stop the job")
    page.wait_for_selector("text=stopped by a person")
    assert ran == ["a", "b2"] and page.locator(".ask").count() == 0
