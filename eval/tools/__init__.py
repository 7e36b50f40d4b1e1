"""What a model may call: `python` (eval.tools.python) and `search` (eval.tools.search); and what runs its programs:
eval.tools.sandbox.

    generate(model, tokenizer, prompts, tools=[python, Search("runs/tiny/index").search], max_new_tokens=256)

A tool is a typed function with a docstring, `(query: str) -> str`: its JSON schema comes from
`transformers.utils.get_json_schema`, and TRL's `tools=` takes it as it stands. `eval.generation.tool_loop` runs it:
whatever a tool does, the model gets a text.
"""

import re

_MARK = re.compile(r"(<\|?/?)(\w{2,40})(\|>|(?<=think)>|(?<=tool_call)>|(?<=tool_response)>)")
MAX_CHARACTERS = 8_000  # of a result; some 2,000 tokens


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of the text (and a note of how many there were): the first half and the last, where
    errors stand."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[cut: {len(text)} characters]\n{text[len(text) - half :]}"


def as_result(text: str, limit: int = MAX_CHARACTERS) -> str:
    """A text as a tool may return it: cut, and with the marks of chat templates broken up (<|im_end|> becomes <|
    im_end |>).

    A tokenizer encodes a mark wherever it stands, so a page that spells one could end the tool's turn and speak for
    the user.
    """
    return cut(_MARK.sub(r"\1 \2 \3", text), limit)
