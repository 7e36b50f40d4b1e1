"""Blind votes about two models: who they are is known here alone until the vote is on disk."""

import json
import random
import secrets
import threading
import time
from pathlib import Path

from data_prep.labelling.labels import person
from eval.cli import UserError


class Votes:
    """Blind pairs, and the file of the votes about them.

    Raises:
        UserError: it is a folder.
    """

    def __init__(self, path: str):
        self.path, self.pairs, self.voted, self._lock = Path(path), {}, set(), threading.Lock()
        if self.path.is_dir():
            raise UserError(f"--votes {path} is a folder: give a .jsonl file")

    def draw(self, names: list[str]) -> str:
        """A secret word for two of the names, drawn, left and right."""
        word = secrets.token_urlsafe(12)
        self.pairs[word] = random.SystemRandom().sample(names, 2)
        return word

    def names(self, word: str) -> list[str]:
        if word not in self.pairs:
            raise UserError("this blind pair is unknown, as the server was started again: begin a new conversation")
        return self.pairs[word]

    def vote(
        self, word: str, winner: str, labeller: str, prompt: list[dict], responses: list[list[dict]]
    ) -> list[str]:
        """Add a vote, once a pair, as one whole line; the names.

        Raises:
            UserError: unknown pair, no name of the labeller, it cannot be written.
        """
        names = self.names(word)
        row = {
            "prompt": prompt,
            "models": names,
            "responses": responses,
            "winner": winner,
            "judge": "person",
            "labeller": person(labeller),
            "time": time.time(),
        }
        line = json.dumps(row, ensure_ascii=False).encode(errors="replace") + b"\n"
        with self._lock:
            if word not in self.voted:
                try:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    with self.path.open("ab", buffering=0) as file:
                        end = file.tell()
                        if file.write(line) < len(line):
                            file.truncate(end)
                            raise OSError("no space")
                except OSError as error:
                    raise UserError(
                        f"the vote cannot be written to {self.path} ({error}): make room, then vote again"
                    ) from None
                self.voted.add(word)
        return names
