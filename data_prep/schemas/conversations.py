"""Conversations as people publish them: OpenAI's and ShareGPT's turns, trees of replies, instructions with answers,
calls of functions."""

import ast
import json
import re
from collections import Counter, defaultdict

from data_prep.schemas import LeftOut, Schema
from eval.shared.messages import Malformed, call, conversation, text, without_nulls

THOUGHT = re.compile(
    r"<\|begin_of_thought\|>\s*(.*?)\s*<\|end_of_thought\|>\s*"
    r"(?:<\|begin_of_solution\|>\s*(.*?)\s*(?:<\|end_of_solution\|>|$))?",
    re.DOTALL,
)
CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
RESULT = re.compile(r"\s*<tool_response>\s*(.*?)\s*</tool_response>\s*", re.DOTALL)
# the turns of a text: "### Human: …### Assistant: …"
WRITTEN = re.compile(r"### ?(System|Human|User|Instruction|Prompter|Assistant|Response|Output):\s*", re.IGNORECASE)
SPEAKERS = {"system": "system", "human": "user", "user": "user", "instruction": "user", "prompter": "user"}
SPEAKERS |= {"assistant": "assistant", "response": "assistant", "output": "assistant"}
TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
}
TYPES |= {kind: kind for kind in TYPES.values()}
PAIRS = (  # what is asked, what stands beside it, what is answered
    ("prompt", "", "completion"),
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
    ("instruction", "", "response"),
    ("instruction", "", "output"),
    ("instruction", "", "completion"),
    ("prompt", "", "response"),
    ("query", "", "response"),
    ("query", "", "answer"),
    ("question", "", "response"),
    ("problem", "", "generated_solution"),
    ("problem", "", "solution"),
    ("question", "", "solution"),
    ("question", "", "answer"),
    ("input", "", "output"),
)


def turns(*spoken: tuple[str, str]) -> list[dict]:
    """Messages out of (role, content)."""
    return [{"role": role, "content": content} for role, content in spoken]


def taught(messages: list[dict], tools: str | None = None) -> list[dict]:
    """The row of a conversation; LeftOut where there is nothing to learn in it."""
    if all(m["role"] != "assistant" for m in messages):
        raise LeftOut("no turn is the assistant's")
    if not any(m["content"].strip() or m.get("tool_calls") for m in messages if m["role"] == "assistant"):
        raise LeftOut("the assistant says nothing")
    return [{"messages": messages, "tools": tools}]


def tools_of(row: dict) -> str | None:
    """The schemas that a row shows, as JSON; None where there is none."""
    tools = row.get("tools") or row.get("functions")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else None
        except ValueError:
            raise Malformed("tools are no JSON") from None
    else:
        tools = without_nulls(tools)
    if not tools:
        return None
    return json.dumps(
        [
            schema if "function" in schema or "type" in schema else {"type": "function", "function": schema}
            for schema in tools
        ],
        ensure_ascii=False,
    )


def system_of(row: dict) -> list[dict]:
    """The system message that a row has in a column of its own."""
    says = next(
        (row[key] for key in ("system", "system_prompt") if isinstance(row.get(key), str) and row[key].strip()), None
    )
    return turns(("system", says)) if says else []


def own(row: dict) -> list[dict]:
    messages = row["messages"]
    if isinstance(messages, str):
        messages = literal(messages, "messages are a text that is no JSON")
    return taught(conversation(messages), tools_of(row))


# ---- Turns of ShareGPT and of logs ----


def spoken(given) -> list[dict]:
    """The turns of a list in any of the usual forms: mappings, texts by turns, or pairs of input and output; or of a
    text that is such a list."""
    if isinstance(given, str):
        given = literal(given, "it is no list of turns")
    if isinstance(given, list) and given and all(isinstance(turn, str) for turn in given):
        return turns(*((("user", "assistant")[i % 2], turn) for i, turn in enumerate(given)))
    if (
        isinstance(given, list)
        and given
        and all(isinstance(turn, dict) and "input" in turn and "output" in turn for turn in given)
    ):
        return [m for turn in given for m in turns(("user", text(turn["input"])), ("assistant", text(turn["output"])))]
    return conversation(given)


def with_thoughts(messages: list[dict]) -> list[dict]:
    """OpenThoughts' marks of thought and solution as <think>; the system message that asks for those marks goes."""
    if not any("<|begin_of_thought|>" in m["content"] for m in messages):
        return messages
    kept = [m for m in messages if m["role"] != "system" or "<|begin_of_thought|>" not in m["content"]]
    return [
        m
        | {
            "content": THOUGHT.sub(
                lambda found: f"<think>\n{found[1]}\n</think>\n\n{found[2] or ''}".rstrip(), m["content"]
            )
        }
        for m in kept
    ]


def literal(given: str, otherwise: str = "a call is no JSON"):
    """JSON, or a literal of Python, which people and models write in its place; else Malformed says `otherwise`."""
    try:
        return json.loads(given)
    except ValueError:
        pass
    try:
        return ast.literal_eval(given)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise Malformed(otherwise) from None


def with_calls(messages: list[dict]) -> list[dict]:
    """Hermes' calls, written into the text, as calls; its results as a tool's turns."""
    read = []
    for m in messages:
        calls = CALL.findall(m["content"]) if m["role"] == "assistant" else []
        results = RESULT.findall(m["content"]) if m["role"] == "tool" else []
        if calls:
            content = CALL.sub("", m["content"]).strip()
            read.append({**m, "content": content, "tool_calls": [call(literal(one)) for one in calls]})
        elif results:
            read += turns(*(("tool", one) for one in results))
        else:
            read.append(m)
    return read


def sharegpt(row: dict) -> list[dict]:
    messages, tools = with_thoughts(spoken(row["conversations"])), tools_of(row)
    if messages[0]["role"] != "system":
        messages = with_thoughts(system_of(row) + messages)
    if tools and any("<tool_call>" in m["content"] for m in messages):
        messages = with_calls(
            [m for m in messages if m["role"] != "system" or "<tools>" not in m["content"]]
        )  # the template shows the tools
    return taught(messages, tools)


def log(row: dict) -> list[dict]:
    return taught(system_of(row) + spoken(row["conversation"]))


def texts(row: dict) -> list[dict]:
    return taught(spoken(row["data"]))


def written_out(row: dict) -> list[dict]:
    """timdettmers/openassistant-guanaco and such: a whole conversation in one text."""
    before, *parts = WRITTEN.split(row["text"])
    if before.strip() or not parts:
        raise Malformed("the text does not begin with a turn")
    spoken = zip(parts[::2], parts[1::2])
    return taught(turns(*((SPEAKERS[who.lower()], said.strip()) for who, said in spoken)))


# ---- Trees ----


def trees(rows: list[dict]) -> tuple[list[dict], Counter]:
    """Of each tree of OpenAssistant the way down along the replies that people ranked best, up to the assistant's
    last."""
    below, left_out = defaultdict(list), Counter()
    for row in rows:
        below[row["parent_id"]].append(row)
    made, used = [], 0
    for root in below[None]:
        path, node = [], root
        while node is not None:
            path.append(node)
            replies = [r for r in below[node["message_id"]] if not r.get("deleted") and isinstance(r.get("text"), str)]
            node = min(replies, key=lambda r: r["rank"] if r.get("rank") is not None else 99) if replies else None
        while path and path[-1]["role"] not in ("assistant", "gpt"):
            path.pop()
        if path:
            made += taught(conversation([{"role": node["role"], "content": node["text"]} for node in path]))
            used += len(path)
    left = len(rows) - used
    if left:
        left_out["it is not on the way of the best replies of its tree, or nobody answered it"] = left
    return made, left_out


# ---- Functions ----


def parameters(given: dict) -> dict:
    """xLAM's parameters ({name: {type: "str, optional", description, default}}) as a JSON schema."""
    if given.get("type") == "object" and "properties" in given:
        return given
    properties, required = {}, []
    for name, about in given.items():
        kind, _, more = str(about.get("type", "str")).partition(",")
        kind = kind.strip().partition("[")[0].lower()
        properties[name] = {"type": TYPES.get(kind, "string")} | {
            key: about[key] for key in ("description", "default") if about.get(key) not in (None, "")
        }
        if "optional" not in more and "default" not in about:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def called(row: dict) -> list[dict]:
    """Salesforce/xlam-function-calling-60k: a question and the calls that answer it."""
    calls, tools = (literal(row[key]) if isinstance(row[key], str) else row[key] for key in ("answers", "tools"))
    if not isinstance(calls, list) or not isinstance(tools, list):
        raise Malformed("answers and tools are no lists")
    shown = [
        {
            "type": "function",
            "function": {
                "name": tool["name"],
                "description": tool.get("description", ""),
                "parameters": parameters(tool.get("parameters") or {}),
            },
        }
        for tool in tools
    ]
    if not calls:
        raise LeftOut("no function is called")
    asked = [
        *turns(("user", text(row["query"]))),
        {"role": "assistant", "content": "", "tool_calls": [call(one) for one in calls]},
    ]
    return taught(asked, json.dumps(shown, ensure_ascii=False))


# ---- What is asked, and what is answered ----


def pair(ask: str, beside: str, says: str):
    """The form of two columns, and one that may be empty beside what is asked."""

    def rows(row: dict) -> list[dict]:
        if row.get("label") is False:
            raise LeftOut("its label says that the answer is bad")
        asked, answer = row[ask], row[says]
        if not answer:
            raise LeftOut("there is no answer")
        if isinstance(asked, list):  # messages, as TRL takes them
            return taught(
                conversation(asked)
                + (conversation(answer) if isinstance(answer, list) else turns(("assistant", answer))),
                tools_of(row),
            )
        if not isinstance(asked, str) or not isinstance(answer, str) or not asked.strip():
            raise Malformed(f"{ask} and {says} are no texts")
        more = row.get(beside) if beside else None
        question = asked.strip() + (f"\n\n{more.strip()}" if isinstance(more, str) and more.strip() else "")
        return taught(system_of(row) + turns(("user", question), ("assistant", answer.strip())))

    def fits(row: dict) -> bool:
        return (
            isinstance(row[ask], (str, list))
            and isinstance(row[says], (str, list))
            and not (
                isinstance(row[says], list)
                and isinstance(row[says][:1], list)
                and row[says]
                and not isinstance(row[says][0], dict)
            )
        )

    return Schema(f"{ask} and {says}", tuple(filter(None, (ask, beside, says))), rows, fits)


FORMS = (
    Schema("messages", ("messages",), own, keeps=True),
    Schema("OpenAssistant's trees", ("message_id", "parent_id", "text", "role"), trees, together=True),
    Schema("ShareGPT", ("conversations",), sharegpt),
    Schema("logs of conversations", ("conversation",), log),
    Schema("xLAM's calls", ("query", "answers", "tools"), called),
    Schema(
        "turns as texts",
        ("data",),
        texts,
        lambda row: isinstance(row["data"], list) and bool(row["data"]) and isinstance(row["data"][0], str),
    ),
    *(pair(*columns) for columns in PAIRS),
    Schema(
        "turns in one text",
        ("text",),
        written_out,
        lambda row: isinstance(row["text"], str) and len(WRITTEN.findall(row["text"])) > 1,
    ),
)
