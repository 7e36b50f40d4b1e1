"""Replies of a model in a folder and behind an endpoint: in order, as many as asked for, and through a server's bad
hours."""

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import save_model

import eval.generation.replies
from eval.cli import UserError
from eval.generation.replies import Replier, hash_seed

ASKED = [[{"role": "user", "content": f"Question {i}."}] for i in range(20)]


def completion(text: str | None, reason: str | None = "stop") -> bytes:
    return json.dumps(
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}]}
    ).encode()


def told(request: dict) -> bytes:
    """What an honest server says: it hangs on the request alone."""
    digest = hashlib.sha256(json.dumps([request["messages"], request["seed"]]).encode()).hexdigest()
    return completion(f"{request['messages'][-1]['content']} {digest[:8]}")


@contextmanager
def serving(script=lambda number, request: told(request)):
    """The URL of an endpoint, and the list of its requests. `script(number, request)` gives a body, (status, headers,
    body), or None to hang up."""
    requests, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                number = len(requests)
                requests.append({"path": self.path, "key": self.headers["Authorization"], **json.loads(body)})
            answer = script(number, requests[number])
            if answer is None:
                self.close_connection = True
                return
            status, headers, text = (200, {}, answer) if isinstance(answer, bytes) else answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # more than that ask at once and are kept waiting for a second

        def handle_error(self, *_):
            pass  # a client that was killed

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(eval.generation.replies, "WAIT", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def endpoint(url: str, **options) -> Replier:
    return Replier(url, 16, name="tiny", **options)


def refused(call) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- Here ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from data_prep.tokenizer import train

    return save_model(
        tmp_path_factory.mktemp("model"), train(["Question about nothing.", "The answer is 7."] * 9, vocab_size=330)
    )


def test_a_model_in_a_folder(folder):
    replier = Replier(str(folder), 5, batch_size=7)
    replies = replier(ASKED[:6], samples=3, seed=1)
    assert [len(group) for group in replies] == [3] * 6 and len({reply for group in replies for reply in group}) > 6
    assert replier(ASKED[:6], samples=3, seed=1) == replies != replier(ASKED[:6], samples=3, seed=2)
    assert Replier(str(folder), 5, batch_size=1)(ASKED[:6], samples=3, seed=1) == replies
    assert replier.provenance == {
        "model": str(folder),
        "endpoint": None,
        "revision": None,
        "temperature": 1.0,
        "max_new_tokens": 5,
    }
    (greedy,), (again,) = (
        Replier(str(folder), 5, temperature=0)(ASKED[:1], 2),
        Replier(str(folder), 5, temperature=0)(ASKED[:1], 2, seed=9),
    )
    assert greedy == again and greedy[0] == greedy[1] and not greedy[0].finished


def test_replies_with_tools_are_turns(chat_model):
    from eval.generation.tool_loop import load_tools

    ((reply,),) = Replier(str(chat_model), 8, tools=load_tools(["python"]), max_result_tokens=4)([ASKED[0]])
    assert reply.messages[0]["role"] == "assistant" and reply.messages[-1].get("content", "") == reply.text
    with pytest.raises(UserError, match="tools are of a model that runs here"):
        Replier("http://localhost:1/v1", 8, name="tiny", tools=load_tools(["python"]))


def test_a_model_that_cannot_be_had(folder, tmp_path):
    from transformers import AutoTokenizer

    assert "nobody/nothing cannot be loaded" in refused(lambda: Replier("nobody/nothing", 5))
    assert f"{tmp_path}/none does not exist" in refused(lambda: Replier(f"{tmp_path}/none", 5))
    assert "is for endpoints" in refused(lambda: Replier(str(folder), 5, name="tiny"))
    assert "is for models on the Hub" in refused(lambda: Replier(str(folder), 5, revision="main"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    assert "has no chat template" in refused(lambda: Replier(str(save_model(tmp_path / "base", tokenizer)), 5))
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    picky = Replier(str(save_model(tmp_path / "picky", tokenizer)), 5)
    assert "refuses a conversation (roles must alternate)" in refused(
        lambda: picky([[{"role": "user", "content": "Hi."}]], 1, 0)
    )
    for options in (
        {"max_new_tokens": 0},
        {"max_new_tokens": 5, "batch_size": 0},
        {"max_new_tokens": 5, "temperature": -1},
        {"max_new_tokens": 5, "temperature": float("nan")},
    ):
        assert "must be at least" in refused(lambda: Replier(str(folder), **options))


# ---- Behind an endpoint ----


def test_an_endpoint_in_order(monkeypatch):
    """Though the first answers come last; HF_HUB_OFFLINE is set in all tests."""

    def script(number, request):
        time.sleep(0.03 if "Question 0." in request["messages"][-1]["content"] else 0)
        return told(request)

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(script) as (url, requests):
        replier = endpoint(url, temperature=0.5)
        replies = replier(ASKED, samples=3, seed=4)
        assert [[reply.text.split(".")[0] for reply in group] for group in replies] == [
            [f"Question {i}"] * 3 for i in range(20)
        ]
        assert all(reply.finished for group in replies for reply in group) and len(requests) == 60
        assert (
            len({request["seed"] for request in requests})
            == 60
            == len({reply.text for group in replies for reply in group})
        )
        assert {(r["path"], r["key"], r["model"], r["max_tokens"], r["temperature"]) for r in requests} == {
            ("/v1/chat/completions", None, "tiny", 16, 0.5)
        }
        assert replier(ASKED, samples=3, seed=4) == replies != replier(ASKED, samples=3, seed=5)
        assert (
            endpoint(url + "/chat/completions")(ASKED, samples=3, seed=4)
            == replies
            == endpoint(url + "/")(ASKED, samples=3, seed=4)
        )
        assert replier([], samples=2) == []
        assert replier.provenance == {
            "model": "tiny",
            "endpoint": url,
            "revision": None,
            "temperature": 0.5,
            "max_new_tokens": 16,
        }


def test_an_endpoint_that_does_not_sample_is_noted_once(capsys):
    """Where all samples of many conversations are the same, and only there."""
    with serving(lambda number, request: completion(request["messages"][-1]["content"])) as (url, requests):
        few, greedy, many = endpoint(url), endpoint(url, temperature=0), endpoint(url)
        few(ASKED[:7], samples=3)
        greedy(ASKED, samples=3)
        many(ASKED)
        assert "note" not in capsys.readouterr().out
        many(ASKED, samples=3)
        many(ASKED, samples=3)
        told = capsys.readouterr().out
    assert told.count("said the same each time") == 1 and "do_sample: true" in told
    with serving() as (url, requests):
        endpoint(url)(ASKED, samples=3)
        assert "note" not in capsys.readouterr().out


def test_requests_run_side_by_side():
    together = threading.Barrier(eval.generation.replies.AT_ONCE, timeout=10)

    def script(number, request):
        together.wait()
        return told(request)

    with serving(script) as (url, requests):
        assert len(endpoint(url)(ASKED[:16])) == 16


# fmt: skip
@pytest.mark.parametrize(
    "body, text, finished",
    [
        (completion("cut", "length"), "cut", False),
        (completion(None), "", True),
        (completion("no", "content_filter"), "no", False),
        (completion("e", "eos_token"), "e", True),
        (completion("half \ud800"), "half ?", True),
        (completion("?", None), "?", False),
    ],
)
def test_how_a_reply_ends(body, text, finished):
    with serving(lambda *_: body) as (url, _):
        ((reply,),) = endpoint(url)(ASKED[:1])
        assert (reply.text, reply.finished) == (text, finished)


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {}, b"slow down"),
        (500, {}, b"oh"),
        (503, {"Retry-After": "soon"}, b""),
        None,
        (200, {"Content-Length": "999"}, b'{"choi'),
    ],
)
def test_a_bad_hour_is_waited_for(trouble, capsys):
    with serving(lambda number, request: trouble if number in (0, 1, 2, 7, 8) else told(request)) as (url, requests):
        replies = endpoint(url)(ASKED)
        assert [group[0].text.split(".")[0] for group in replies] == [f"Question {i}" for i in range(20)]
        assert len(requests) == 25
    assert capsys.readouterr().out.count("trying again") == 1


def test_a_server_says_how_long():
    with serving(lambda number, request: told(request) if number else (429, {"Retry-After": "1"}, b"")) as (
        url,
        requests,
    ):
        begin = time.monotonic()
        assert endpoint(url)(ASKED[:1]) and time.monotonic() - begin >= 1


@pytest.mark.parametrize(
    "trouble, says", [((503, {}, b"loading the\nmodel"), "status 503: loading the model"), (None, "Remote end closed")]
)
def test_patience_ends(trouble, says):
    with serving(lambda *_: trouble) as (url, requests):
        error = refused(lambda: endpoint(url)(ASKED[:1]))
    assert (
        f"{url} does not answer for tiny" in error
        and says in error
        and "see that it runs" in error
        and len(requests) == eval.generation.replies.TRIES
    )
    assert "refused" in refused(lambda: endpoint(url)(ASKED))  # the server has gone


@pytest.mark.parametrize(
    "status, cure",
    [
        (401, "set OPENAI_API_KEY"),
        (404, "give the URL up to /v1, and the name of a model"),
        (400, "see what it says"),
        (302, "see what it says"),
    ],
)
def test_a_refusal_is_told_at_once(status, cure, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n")

    def script(number, request):
        said = json.dumps({"error": {"message": f"no\n {request['key']} " + "x" * 500}}).encode()
        return status, {"Location": "http://127.0.0.1:9/v1"}, said

    with serving(script) as (url, requests):
        begin = time.monotonic()
        error = refused(lambda: endpoint(url)(ASKED, samples=9))
        assert requests[0]["key"] == "Bearer sk-secret" and len(requests) < 60 and time.monotonic() - begin < 5
    assert f"{url} refuses to answer for tiny (status {status}: " in error and "no" in error and cure in error
    assert "secret" not in error + "".join(capsys.readouterr()) and len(error) < 500


BROKEN = [
    b"",
    b"<html>\nWelcome",
    b"[]",
    b'{"choices": []}',
    b'{"choices": [{"message": "x", "finish_reason": "stop"}]}',
    b"\xff",
    completion({"no": "text"}),
]


@pytest.mark.parametrize("body", BROKEN)
def test_an_answer_that_is_none(body):
    with serving(lambda *_: body) as (url, requests):
        error = refused(lambda: endpoint(url)(ASKED[:1]))
    assert "gives no chat completion, but " in error and "up to /v1" in error and len(requests) == 1


def test_urls_and_keys_that_are_none(monkeypatch):
    assert "give the name of the model" in refused(lambda: Replier("http://localhost:1/v1", 5))
    assert "is for models on the Hub" in refused(lambda: endpoint("http://localhost:1/v1", revision="main"))
    for url in (
        "http://",
        "http://a b/v1",
        "http://localhost:port/v1",
        "http://localhost:99999/v1",
        "http://me:secret@localhost/v1",
        "http://localhost/v1?key=secret",
        "http://löcal/v1",
    ):
        error = refused(lambda: endpoint(url))
        assert "must be such as http://localhost:8000/v1" in error and "secret" not in error
    for key in ("sk-\nsecret", "sk-sécret"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        error = refused(lambda: endpoint("http://localhost:1/v1"))
        assert "OPENAI_API_KEY holds characters" in error and "cret" not in error


def test_seeds():
    seeds = {
        hash_seed(seed, prompt, sample) for seed in (0, 2**31 - 1) for prompt in range(500) for sample in range(20)
    }
    assert len(seeds) == 20_000 and min(seeds) >= 0 and max(seeds) < 2**31
