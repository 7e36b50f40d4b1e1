r"""What the user sees of a completion: `visible(completion)`, the text without its thinking, whichever way the
thinking is marked.

    visible("<think>Perhaps 6?</think>The answer is 7.")  ->  "The answer is 7."

Read are

    tags        <think>, <thinking>, <thought>, <reasoning>, <analysis>, <reflection>, <scratchpad>, <seed:think>,
                <longcat_think> … and their closing tags, in any letter case, as HTML's &lt;think&gt; too; <|think|>;
                [THINK]…[/THINK]; ◁think▷…◁/think▷; <|begin_of_thought|>…<|end_of_thought|>; <|START_THINKING|>…
                <|END_THINKING|>; <|inner_prefix|>…<|inner_suffix|>; <|channel>thought…<channel|>;
                <unused94>thought…<unused95>; <|think_start|>…<|think_end|>; <details type="reasoning">…</details>
    channels    gpt-oss's <|channel|>analysis<|message|>…<|end|>…<|channel|>final<|message|>…: only the channel final
                is seen; the same where the special tokens were left out when decoding ("analysis…assistantfinal…")
    sentences   "Here is my thought process: … Here is my response: …" and "Thinking... … ...done thinking."

A thought that is never closed hides all that follows; a closing tag without an opening one (the prompt opened it)
hides all that stands before. Thoughts nest. A tag between quotation marks or backticks is talked about, and is text.
What marks the reply, and the special tokens behind it, are left out, too.
"""

import functools
import re

_NAMES = (
    r"(?:\w{1,20}[:_])?think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad"
    r"|(?:inner|internal)_monologue|antthinking|(?:reasoning|thinking)_content"
    r"|chain_of_thought|cot|th(?:ought|inking)_process"
    "|think_never_used_[0-9a-f]+"
)
_OPEN = (
    rf"<\s*(?:{_NAMES})\s*>|&lt;(?:{_NAMES})&gt;|<\|(?:think|thinking|reasoning)(?:_start)?\|>"
    rf"|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
    rf"|<\|START_THINKING\|>|<\|inner_prefix\|>"
    rf"|<\|channel>\s*thought\b|<unused94>"
)
_CLOSE = (
    rf"<\s*/\s*(?:{_NAMES})\s*>|&lt;/(?:{_NAMES})&gt;"
    rf"|<\|(?:/(?:think|thinking|reasoning)|(?:think|thinking|reasoning)_end)\|>"
    rf"|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    rf"|<\|END_THINKING\|>|<\|inner_suffix\|>"
    rf"|<channel\|>|<unused95>"
)
_TAG = re.compile(
    rf"(?P<quoted>(?<!`)`(?:{_OPEN}|{_CLOSE})`(?!`)|[\"'](?:{_OPEN}|{_CLOSE})[\"'])|(?P<open>{_OPEN})"
    rf"|(?P<close>{_CLOSE})",
    re.IGNORECASE,
)
_ENDS_OPEN = re.compile(rf"(?:{_OPEN})\s*\Z", re.IGNORECASE)
_ENDS = str.maketrans(
    {"/": None, "<": None, ">": None, "[": None, "]": None, "|": None, "◁": None, "▷": None, " ": None}
)
_PARTNERS = {
    "end_of_thought": "begin_of_thought",
    "end_thinking": "start_thinking",
    "inner_suffix": "inner_prefix",
    "channel": "channelthought",
    "unused95": "unused94",
    "think_end": "think_start",
    "thinking_end": "thinking_start",
    "reasoning_end": "reasoning_start",
}

_MESSAGE = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>"
    r"|\Z)",
    re.DOTALL,
)
_BARE_CHANNEL = re.compile(r"(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'(0-9]|[a-z\s].*assistantfinal)", re.DOTALL)
_SAID = (  # (how the thinking begins, how the reply begins)
    (
        re.compile(r"\s*(?:here's|here is) my thought process:", re.IGNORECASE),
        re.compile(r"(?:here's|here is) my response:", re.IGNORECASE),
    ),
    (re.compile(r"\s*Thinking\.\.\.\s"), re.compile(r"\.\.\.\s?done thinking\.")),
)
_REPLY_MARKS = re.compile(
    r"</?(?:response|final|final_response)>|<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>"
    r"|\[(?:BEGIN|END) FINAL RESPONSE\]"
)
_FOLDED = re.compile(r"<details\s[^<>]*type=[\"']reasoning[\"'][^<>]*>.*?(?:</details>|\Z)", re.DOTALL | re.IGNORECASE)
_END_TOKEN = re.compile(r"(?:<\|\w{1,40}\|>|</s>|<eos>|<end_of_turn>|<turn\|>|<｜[^｜<>]{1,30}｜>)\Z")


@functools.lru_cache(maxsize=1024)
def _name(tag: str) -> str:
    bare = "".join(tag.lower().replace("&lt;", "").replace("&gt;", "").translate(_ENDS).split())
    return _PARTNERS.get(bare, bare)


def _outside_tags(text: str) -> str:
    shown, open_, at = [], [], 0
    for tag in _TAG.finditer(text):
        if tag["quoted"]:
            continue
        if not open_:
            shown.append(text[at : tag.start()])
        at = tag.end()
        if tag["open"]:
            open_.append(_name(tag[0]))
        elif not open_:
            shown = []
        elif (name := _name(tag[0])) in open_:
            del open_[len(open_) - 1 - open_[::-1].index(name) :]
    return "".join(shown) if open_ else "".join(shown) + text[at:]


def _final_channel(text: str) -> str:
    if "<|channel|>" in text:
        return "\n".join(message for channel, message in _MESSAGE.findall(text) if channel == "final")
    if _BARE_CHANNEL.match(text.lstrip()):
        return text.rpartition("assistantfinal")[2] if "assistantfinal" in text else ""
    return text


def _behind_the_thought(text: str) -> str:
    for begins, ends in _SAID:
        if begins.match(text):
            matches = list(ends.finditer(text))
            return text[matches[-1].end() :] if matches else ""
    return text


def _without_end_tokens(text: str) -> str:
    text = text.rstrip()
    while match := _END_TOKEN.search(text, max(0, len(text) - 50)):
        text = text[: match.start()].rstrip()
    return text


def opened(prompt: str) -> str:
    """The tag that opens a thought where a prompt ends on it, as some chat templates do; else ""."""
    tag = _ENDS_OPEN.search(prompt)
    return tag[0] if tag else ""


def thinks(text: str) -> bool:
    """Whether there is thinking in a text, closed or not."""
    if any(not tag["quoted"] for tag in _TAG.finditer(text)) or "<|channel|>" in text or _FOLDED.search(text):
        return True
    return bool(_BARE_CHANNEL.match(text.lstrip())) or any(begins.match(text) for begins, _ in _SAID)


def may_think(tokenizer) -> bool:
    """Whether a tokenizer's chat template knows thinking."""
    template = tokenizer.chat_template or ""
    return bool(re.search(_OPEN, str(template))) or "<|channel|>" in str(template)


def cut(text: str, stops: list[str]) -> str:
    """The text before the first of the stop strings; those in its thinking, and between it and the reply, do not
    count.
    """
    places = sorted(match.span() for stop in stops if stop for match in re.finditer(re.escape(stop), text))
    for start, end in places:
        if not thinks(text[:end]) or visible(text[:end]).strip():
            return text[:start]
    return text


def visible(completion: str) -> str:
    """The text without its thinking, as it stands: "" where nothing but thinking is there."""
    text = _outside_tags(_FOLDED.sub("", _final_channel(completion)))
    return _REPLY_MARKS.sub("", _behind_the_thought(_without_end_tokens(text)))
