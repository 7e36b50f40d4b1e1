r"""The Python program of a reply: `program("Here:\n```python\ndef f(x): return x\n```", tests="assert f(1) == 1")`.

Where it may stand, in the order in which it is looked for

    1. fenced blocks: ``` or ~~~, three or more; any label (python, python3, py, Python, {.python}, python
    title="a.py" …) or none; indented, in a list or quotation; CRLF; behind text on the same line; closed by a fence at
       least as long, or at the end of the code's last line. The last one may be unclosed, the first unopened (the
       prompt opened it). A session at Python's prompt (>>> …) is what was typed there.
    2. [PYTHON]…[/PYTHON], [BEGIN]…[DONE], <code>…</code>, <python>…</python>
    3. no fence at all: the lines from the first that begins a definition or an import, as far as they are code; one
    `inline` definition

Which block it is: the last that is Python and defines a name which the tests use; with it go earlier Python blocks
that define what it uses and does not define. Where none defines such a name, the last one labelled Python, then the
last without a label. `if __name__ == "__main__": …` is left out, as tests call the program. Examples, printed output,
shells and other languages before or behind are no program.
"""

import ast
import builtins
import html
import itertools
import json
import re
import textwrap
from dataclasses import dataclass

LONGEST = 100_000  # characters of a program
_FENCE = re.compile(r"(?P<before>.*?)(?P<marks>`{3,}|~{3,})(?P<label>[^`\n]*)$")
_LABEL = re.compile(r"[\w+#.-]*|\{[^{}]*\}|\w+[ ,:]+\w+=.*|(?:python3?|py) (?:def|class|import|from|async def) .+")
_AT_ONCE = re.compile(r"(python3?|py)\s+((?:def|class|import|from|async def) .+)", re.IGNORECASE)  # no line between
_INDENTED = re.compile("^[ \u00a0\u2003]*\u00a0[ \u00a0\u2003]*")
_QUOTE = re.compile(r"^(?:[ \t]*>[ ]?)+")
_PYTHON = re.compile(r"[{.\s]*(?:i?python|py)(?:[23](?:\.[0-9]+)?)?(?:[\s,:;.}{]|$)", re.IGNORECASE)
_TAGGED = re.compile(
    r"\[PYTHON\](.*?)(?:\[/PYTHON\]|\Z)|\[BEGIN\](.*?)(?:\[DONE\]|\Z)|<code>((?:(?!<code>).)*?)</code>"
    r"|<python>((?:(?!<python>).)*?)</python>",
    re.DOTALL | re.IGNORECASE,
)
_BEGINS = re.compile(
    r"^[ \t]*(?:(?:async[ ]+)?def[ ]+\w+[ ]*\(|class[ ]+\w+[ ]*[:(]|import[ ]+[\w.]+(?:[ ]+as[ ]+\w+)?(?:,|[ \t]*$)"
    r"|from[ ]+[\w.]+[ ]+import[ ]|@\w)",
    re.MULTILINE,
)
_CODE_LINE = re.compile(
    r"(?:\s|#|@\w|[)\]}]|(?:async |def |class |import |from \w[\w.]* import |if |elif |else:|for |while |try:|except"
    r"|finally:|with |return\b|assert |raise |print\(|del |global |pass\b)"
    r"|[\w.\[\]'\", ]+?\s*(?:[-+*/|&%]|//|\*\*|:\s*[\w\[\], .]+)?=[^=]|\w[\w.]*\(.*\)\s*$)"
)


@dataclass(frozen=True)
class Block:
    """`code`, and the `label` behind its fence."""

    code: str
    label: str

    @property
    def python(self) -> bool:
        return bool(_PYTHON.match(self.label))


def _lines(text: str) -> list[str]:
    """The lines; web pages and chats make no-break spaces of indentation, which Python does not read."""
    lines = re.sub("[\ufeff\u200b]", "", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [_INDENTED.sub(lambda found: " " * len(found[0]), line) for line in lines]


def _dedented(lines: list[str], indent: int) -> str:
    """Without the indentation of the fence; where a line has less, without what all have."""
    inside = [line for line in lines if line.strip()]
    if all(not line[:indent].strip() for line in inside):
        lines = [line[indent:] for line in lines]
    return textwrap.dedent("\n".join(lines)) + "\n"


def _opens(fence: re.Match) -> bool:
    """Whether a fence opens a block: behind indentation, a list's mark or a quotation's any does, behind words one
    with a plain label.
    """
    before = fence["before"].rstrip()
    return (
        not before
        or (before[-1] in ":.-*)>" or bool(re.search(r"\w\s", fence["before"][-2:])))
        and bool(_LABEL.fullmatch(fence["label"].strip()))
    )


def _ends(fence: re.Match, marks: str) -> bool:
    return not fence["before"].strip() and fence["marks"][0] == marks[0] and len(fence["marks"]) >= len(marks)


def _ends_behind_code(fence: re.Match, marks: str, label: str, inside: list[str]) -> bool:
    """Whether a fence at the end of a line of Python closes its block."""
    if fence["marks"] != marks or fence["label"].strip() or not _PYTHON.match(label) or not fence["before"].strip():
        return False
    return _tree(textwrap.dedent("\n".join([*inside, fence["before"]]))) is not None


def _as_typed(code: str) -> str:
    """The code of a session at Python's prompt (>>> …) without what was printed, and with HTML's entities as they were
    written where it is no Python with them.
    """
    lines = code.split("\n")
    if any(line.startswith(">>> ") for line in lines):
        code = "\n".join(line[4:] for line in lines if line[:4] in (">>> ", "... ")) + "\n"
    plain = html.unescape(code)
    return plain if plain != code and _tree(code) is None and _tree(plain) is not None else code


def _fields(text: str) -> list[Block]:
    """The programs in a reply that is a JSON object, such as {"code": "def …"}."""
    try:
        held = json.loads(text) if text.strip().startswith("{") else {}
    except (ValueError, RecursionError):
        return []
    return [Block(value, "") for value in held.values() if isinstance(value, str) and _BEGINS.search(value)]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in order."""
    found, inside, marks, label, indent, quoted = [], [], "", "", 0, False
    for line in _lines(text):
        bare = _QUOTE.sub("", line)
        fence = _FENCE.match(bare)
        if fence and not marks:
            quoted = bare != line
        line = bare if quoted else line
        ended = bool(fence and marks and _ends(fence, marks))
        if fence and marks and not ended and _ends_behind_code(fence, marks, label, inside):
            inside.append(fence["before"])
            found.append(Block(_dedented(inside, indent), label))
            inside, marks = [], ""
            continue
        if ended:
            found.append(Block(_dedented(inside, indent), label))
            inside, marks = [], ""
        if (
            fence
            and not marks
            and (_LABEL.fullmatch(fence["label"].strip()) and fence["label"].strip() if ended else _opens(fence))
        ):
            marks, label, inside = fence["marks"], fence["label"].strip(), []
            if at_once := _AT_ONCE.fullmatch(label):
                label, inside = at_once[1], [at_once[2]]
            indent = 0 if fence["before"].strip() else len(fence["before"])
        elif marks and not ended:
            inside.append(line)
    if marks and any(line.strip() for line in inside):
        found.append(Block(_dedented(inside, indent), label))
    nested = [blocks(block.code) if block.label.lower() in ("markdown", "md") else [block] for block in found]
    return [block for group in nested for block in group]


def _tree(code: str) -> ast.Module | None:
    try:
        return ast.parse(code) if len(code) <= LONGEST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _binds(tree: ast.Module | None) -> set[str]:
    """The names that a module defines."""
    if tree is None:
        return set()
    found = {
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found |= {
                name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
    return found


def _with_helpers(chosen: Block, before: list[Block]) -> str:
    """The block behind those earlier ones that define what it uses and does not define."""
    parts, tree = [chosen.code], _tree(chosen.code)
    bound = _binds(tree) | set(dir(builtins))
    needs = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - bound
    for block in reversed(before):
        tree = _tree(block.code)
        if tree is not None and (given := _binds(tree)) & needs and not given & bound - set(dir(builtins)):
            parts.insert(0, block.code)
            bound |= given
            needs = (needs | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}) - bound
    return "\n".join(parts)


def _chosen(found: list[Block], tests: str) -> str:
    """The last block that defines a name of the tests, with its helpers; "" where there is none."""
    wanted = set(re.findall(r"\b[^\W\d]\w*", tests)) - set(dir(builtins)) - _binds(_tree(tests))
    for place in range(len(found) - 1, -1, -1):
        if _binds(_tree(found[place].code)) & wanted:
            return _with_helpers(found[place], found[:place])
    return ""


def _last(found: list[Block]) -> str:
    labelled = [block for block in found if block.python] or [block for block in found if not block.label] or found
    return labelled[-1].code if labelled else ""


def _bare(text: str) -> str:
    """The code of a text without fences: "" where there is none."""
    lines = _lines(text)
    begins = next((n for n, line in enumerate(lines) if _BEGINS.match(line)), None)
    if begins is None:
        inline = re.search(r"(?<!`)`((?:def|class) [^`\n]+)`(?!`)", text)
        return inline[1] + "\n" if inline else ""
    indent = len(lines[begins]) - len(lines[begins].lstrip())
    while (
        begins
        and lines[begins - 1].strip()
        and not lines[begins - 1][:1].isspace()
        and _CODE_LINE.match(lines[begins - 1])
    ):
        begins -= 1
    kept = []
    for line in lines[begins:]:
        if line.strip() and (line[:indent].strip() or not _CODE_LINE.match(line[indent:])):
            break
        kept.append(line[indent:])
    return "\n".join(kept).rstrip() + "\n"


def with_imports(code: str, tests: str) -> str:
    """The code with the imports that the tests begin with: chat models write the function alone and leave out what the
    prompt showed above it. They stand behind the code's own `from __future__`.
    """
    tree, given = _tree(tests), _tree(code)
    if tree is None or given is None:
        return code
    leading = itertools.takewhile(lambda node: isinstance(node, (ast.Import, ast.ImportFrom)), tree.body)
    imports = [ast.unparse(node) for node in leading if getattr(node, "module", "") != "__future__"]
    futures = [node for node in given.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    if not imports:
        return code
    lines = code.split("\n")
    at = futures[-1].end_lineno if futures else 0
    return "\n".join([*lines[:at], *imports, *lines[at:]])


def _is_guard(node: ast.stmt) -> bool:
    """Whether it is `if __name__ == "__main__": …`."""
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) == "__name__ == '__main__'"


def _without_guard(code: str) -> str:
    """The code without what it does only as a program of its own, such as asking for input: its tests call it."""
    tree = _tree(code)
    guards = [node for node in tree.body if _is_guard(node)] if tree else []
    lines = code.split("\n")
    for guard in reversed(guards):
        del lines[guard.lineno - 1 : guard.end_lineno]
    return "\n".join(lines)


def program(text: str, tests: str = "") -> str:
    """The program of a reply without its thinking (see `eval.checking.thinking.visible`); "" where there is none, or
    it is too long.
    """
    found = [Block(_as_typed(block.code), block.label) for block in blocks(text) if block.code.strip()]
    found = found or _fields(text)
    tagged = [
        Block(textwrap.dedent(next(filter(None, parts), "")).strip("\n") + "\n", "python")
        for parts in _TAGGED.findall(text)
    ]
    bare = [Block(_bare(text), "")]
    code = _chosen(found, tests) or _chosen(tagged, tests) or _chosen(bare, tests) or _last(found or tagged or bare)
    if len(code) > LONGEST:
        return ""
    return _without_guard(code) if tests else code


def humaneval_tests(example: dict) -> str:
    """What checks a reply to a row of HumanEval (Chen et al. 2021): `prompt`, `test`, `entry_point`.

    What the prompt shows above the function, imports and helpers, stands in the tests, too: a reply may leave it out,
    and three of the 164 tests call a helper.
    """
    definition = re.search(rf"^(?:async )?def {re.escape(example['entry_point'])}\b", example["prompt"], re.MULTILINE)
    above = example["prompt"][: definition.start()].strip() if definition else ""
    parts = [above, example["test"], f"check({example['entry_point']})"]
    return "\n".join(filter(None, parts)) + "\n"
