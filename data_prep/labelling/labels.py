"""People's labels: a journal of their actions, who gets which item, how far they agree, and the rows they give.

`labels.jsonl` holds one action a line, on disk before the page hears that it is saved: `id` (of the action: one that
comes twice counts once), `labeller`, `item` (`item_id`), `kind` (`KINDS`), `time`, and what the kind has. A person's
last label of an item is the one that counts. The state is these lines read again, so that nothing else can be lost; a
line that a kill cut short was never confirmed, and is cut off.
"""

import fcntl
import hashlib
import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

from data_prep.shared.rankings import places
from eval.cli import UserError, output_folder, read_jsonl

KINDS = {"rank": ("open", "rank", "skip"), "write": ("open", "edit", "accept", "reject", "skip")}
LABELS = ("rank", "accept", "reject")
LEASE = 30 * 60  # seconds that an opened item is kept for the person who opened it
NAME = 40  # letters of a person's name


def item_id(row: dict) -> str:
    """Of what is shown, so that rows may be added or moved between two starts."""
    shown = [row.get("prompt"), row.get("responses"), row.get("messages")]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]


def is_turn(turn) -> bool:
    """Whether it is a message that can be shown."""
    return (
        isinstance(turn, dict)
        and isinstance(turn.get("role"), str)
        and isinstance(turn.get("content") or "", str)
        and isinstance(turn.get("tool_calls") or [], list)
    )


def plain(text: str | None) -> str:
    """With the line ends of a page's text field."""
    return (text or "").replace("\r\n", "\n")


def person(name) -> str:
    """A name as it is stored: "Ann " and "ann" are one person.

    Raises:
        UserError: no name.
    """
    name = " ".join(name.split()).casefold() if isinstance(name, str) else ""
    if not name or len(name) > NAME or not name.isprintable():
        raise UserError(f"labeller must be a name of at most {NAME} letters")
    return name


def read_items(path: str) -> tuple[str, dict[str, dict]]:
    """What is to be done ("rank" or "write"), and {id: row}.

    Raises:
        UserError: no rows of `prompt` and `responses`, nor of `messages` that end with the assistant's.
    """
    cure = (
        "give rows of prompt and responses (to be ranked; data_prep.preferences --ranker none), or of messages"
        " (drafts; data_prep.synthesize)"
    )
    rows = read_jsonl(path, (), cure)
    task = "rank" if "responses" in rows[0] else "write"
    items: dict[str, dict] = {}
    for number, row in enumerate(rows, 1):
        if task == "rank":
            ok = (
                isinstance(row.get("responses"), list)
                and len(row["responses"]) > 1
                and all(isinstance(text, str) for text in row["responses"])
            )
            turns = row.get("prompt")
        else:
            turns = row.get("messages")
            ok = (
                isinstance(turns, list)
                and turns
                and isinstance(turns[-1], dict)
                and turns[-1].get("role") == "assistant"
            )
        if (
            not ok
            or not isinstance(turns, list)
            or not all(map(is_turn, turns))
            or not isinstance(row.get("provenance") or {}, dict)
        ):
            raise UserError(f"{path}, line {number} is nothing to {task}: {cure}")
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{path}, line {number} holds half a character (a lone surrogate): write the row again, or remove it"
            ) from None
        items.setdefault(item_id(row), row)
    if len(items) < len(rows):
        print(f"{path}: {len(rows) - len(items):,} of {len(rows):,} rows stand there twice, and are shown once")
    return task, items


def holders(leases: dict[str, float], labeller: str, now: float) -> set[str]:
    """The other people for whom an item is kept."""
    return {who for who, opened in leases.items() if who != labeller and now - opened < LEASE}


def place_of_each(ranking: list) -> dict[int, int]:
    """The place of each response in a ranking, the same for tied ones."""
    places = {}
    for place, tied in enumerate(ranking):
        for i in tied if isinstance(tied, list) else [tied]:
            places[i] = place
    return places


class Labels:
    """The labels of a folder, held by one process.

    Args:
        folder: of `labels.jsonl`.
        items: {id: row}, in the order in which they are given out.
        task: "rank" or "write".
        twice: share of the items that two people label, from which `agreement` is measured.

    Raises:
        UserError: another process holds the folder, or `labels.jsonl` is not a journal.
    """

    def __init__(self, folder: str | Path, items: dict[str, dict], task: str, twice: float = 0.1):
        self.folder, self.items, self.task, self.twice = output_folder(folder), items, task, twice
        self.labels: dict[str, dict[str, dict]] = {}  # {item: {labeller: the action that counts}}
        self.drafts: dict[tuple[str, str], str] = {}  # {(item, labeller): text}
        self.leases: dict[str, dict[str, float]] = {}  # {item: {labeller: when they last touched it}}
        self.skipped: dict[str, dict[str, int]] = {}  # {labeller: {item: number of the action}}
        self.history: dict[str, list[str]] = {}  # {labeller: items in the order of their labels}
        self.seen: set[str] = set()  # ids of actions
        self.mutex = threading.Lock()
        self.held = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another process is at work in {self.folder}: open its page, stop it before an export, or choose"
                " another --output_dir"
            ) from None
        path = self.folder / "labels.jsonl"
        try:
            self.journal = path.open("ab", buffering=0)
            text = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}): choose another --output_dir") from None
        whole = text.rfind(b"\n") + 1
        self.journal.truncate(whole)
        for number, line in enumerate(text[:whole].splitlines(), 1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise UserError(
                    f"{path}, line {number} is not an action of this program: put the line right, or choose another"
                    " --output_dir"
                ) from None

    def wanted(self, item: str) -> int:
        """How many people label an item."""
        return 1 + (int(item, 16) % 1000 < 1000 * self.twice)

    # ---- Actions ----

    def _check(self, action: dict) -> None:
        kind, item = action.get("kind"), action.get("item")
        row = self.items.get(item) if isinstance(item, str) else None
        if not isinstance(action.get("id"), str) or not 8 <= len(action["id"]) <= 64:
            raise UserError("id must be a text of 8 to 64 letters, another for each action")
        if kind not in KINDS[self.task] or row is None:
            raise UserError(
                f"kind must be one of {', '.join(KINDS[self.task])} and item one of the {len(self.items):,} items, but"
                f" they are {kind!a:.40} and {item!a:.40}"
            )
        if kind == "rank" and sum(map(len, places(action.get("ranking"), row["responses"], "the ranking"))) != len(
            row["responses"]
        ):
            raise UserError(f"ranking must name all {len(row['responses'])} responses")
        if kind in ("edit", "accept") and (
            not isinstance(action.get("text"), str) or (kind == "accept" and not action["text"].strip())
        ):
            raise UserError("text must be the answer")

    def act(self, action: dict) -> None:
        """Store an action, once.

        Raises:
            UserError: it is not complete, or the disk is full: it is not stored.
        """
        with self.mutex:
            self._act(action)

    def _act(self, action: dict) -> None:
        action = action | {"labeller": person(action.get("labeller"))}
        self._check(action)
        if action["id"] in self.seen:
            return
        action = {
            key: action[key]
            for key in ("id", "labeller", "item", "kind", "ranking", "text", "reason")
            if key in action
        } | {"time": round(time.time(), 3)}
        line, end = json.dumps(action).encode() + b"\n", os.fstat(self.journal.fileno()).st_size
        try:
            if self.journal.write(line) < len(line):
                raise OSError("the disk is full")
            os.fsync(self.journal.fileno())
        except OSError as error:
            self.journal.truncate(end)
            raise UserError(f"the action is not saved ({error}): make room in {self.folder}, then try again") from None
        self._apply(action)

    def _apply(self, action: dict) -> None:
        who, item, kind, when = action["labeller"], action["item"], action["kind"], float(action["time"])
        if kind == "rank":
            action["ranking"][0]
        self.seen.add(action["id"])
        if kind == "skip" and who not in self.labels.get(item, {}):
            self.skipped.setdefault(who, {})[item] = len(self.seen)
        if kind in ("open", "edit"):
            self.leases.setdefault(item, {})[who] = when
        else:
            self.leases.get(item, {}).pop(who, None)
        if kind in ("edit", "accept"):
            self.drafts[item, who] = action["text"]
        if kind in LABELS:
            self.labels.setdefault(item, {})[who] = action
            self.skipped.get(who, {}).pop(item, None)
            history = self.history.setdefault(who, [])
            if item not in self.history[who]:
                history.append(item)

    # ---- Who gets what ----

    def next(self, labeller: str, skipped: bool = False) -> str | None:
        """The item a person works at, or a new one, now theirs; None where nothing is left for them. With `skipped`
        also what they skipped."""
        now, labeller = time.time(), person(labeller)
        with self.mutex:
            late = self.skipped.get(labeller, {})
            done = {item for item, labels in self.labels.items() if labeller in labels} | (
                set() if skipped else late.keys()
            )
            others = {item: holders(leases, labeller, now) for item, leases in self.leases.items()}
            free = [
                i
                for i in self.items
                if i not in done and len({*self.labels.get(i, {}), *others.get(i, ())}) < self.wanted(i)
            ]
            free.sort(key=lambda item: late.get(item, 0))  # what was skipped first comes first, behind what was not
            current = next((item for item in free if labeller in self.leases.get(item, {})), free[0] if free else None)
            if current and now - self.leases.get(current, {}).get(labeller, 0) > LEASE / 2:
                self._act({"id": os.urandom(8).hex(), "labeller": labeller, "item": current, "kind": "open"})
        return current

    def shown(self, item: str, labeller: str) -> dict:
        """What a person sees of an item: the responses in an order of their own, and their label so far."""
        row, label = self.items[item], self.labels.get(item, {}).get(labeller)
        if self.task == "write":
            last = plain(row["messages"][-1].get("content"))
            text = self.drafts.get((item, labeller), last)
            return {
                "item": item,
                "turns": row["messages"][:-1],
                "calls": row["messages"][-1].get("tool_calls") or [],
                "draft": last,
                "text": text,
                "label": label and label["kind"],
            }
        order = list(range(len(row["responses"])))
        random.Random(f"{item}-{labeller}").shuffle(order)
        return {
            "item": item,
            "turns": row["prompt"],
            "responses": [{"index": i, "text": row["responses"][i]} for i in order],
            "ranking": label and label["ranking"],
        }

    # ---- How far, and how far they agree ----

    def _here(self) -> dict[str, dict[str, dict]]:
        """The labels of the items at hand; the folder may hold others."""
        return {item: labels for item, labels in self.labels.items() if item in self.items}

    def progress(self, labeller: str) -> dict:
        labeller = person(labeller)
        with self.mutex:
            mine = [item for item in self.history.get(labeller, []) if item in self.items]
            counts = {
                "done": sum(min(len(self.labels.get(i, {})), self.wanted(i)) for i in self.items),
                "wanted": sum(map(self.wanted, self.items)),
            }
            skipped = sum(
                item in self.items and len(self.labels.get(item, {})) < self.wanted(item)
                for item in self.skipped.get(labeller, ())
            )
            return counts | {
                "yours": len(mine),
                "skipped": skipped,
                "people": len({who for labels in self._here().values() for who in labels}),
                "agreement": self.agreement(),
            }

    def agreement(self) -> dict:
        """Of two people who labelled the same item: the share of pairs of responses that both put in the same order
        (pairs that one of them ties do not count), or of drafts that both accept or both reject; `n` pairs or drafts.
        """
        same = []
        for labels in self._here().values():
            for a, b in itertools.combinations(labels.values(), 2):
                if self.task == "write":
                    same.append(a["kind"] == b["kind"])
                    continue
                first, second = place_of_each(a["ranking"]), place_of_each(b["ranking"])
                signs = [
                    (first[i] - first[j]) * (second[i] - second[j])
                    for i, j in itertools.combinations(first.keys() & second.keys(), 2)
                ]
                same += [sign > 0 for sign in signs if sign]
        return {"share": sum(same) / len(same) if same else None, "n": len(same)}

    # ---- What they give ----

    def rows(self) -> list[dict]:
        """Rankings (`prompt`, `responses`, `ranking`: a list of each place, as Arrow takes no mixture; `labeller`;
        each person's a row), or conversations that were accepted and by nobody rejected."""
        labelled = []
        for item, labels in self._here().items():
            row = self.items[item]
            if self.task == "rank":
                split = {"split": row["split"]} if row.get("split") else {}
                shared = {"prompt": row["prompt"], "responses": row["responses"]} | split
                labelled += [
                    shared | {"ranking": places(x["ranking"], row["responses"], item), "labeller": who}
                    for who, x in labels.items()
                ]
            elif all(label["kind"] == "accept" for label in labels.values()):
                who, label = max(labels.items(), key=lambda pair: pair[1]["time"])
                text = label["text"].strip()
                by = {"labeller": who, "edited": text != plain(row["messages"][-1].get("content")).strip()}
                turns = [*row["messages"][:-1], row["messages"][-1] | {"content": text}]
                labelled.append(
                    row | {"messages": turns, "status": "accepted", "provenance": (row.get("provenance") or {}) | by}
                )
        return labelled

    def counts(self) -> Counter:
        return Counter(label["kind"] for labels in self._here().values() for label in labels.values())
