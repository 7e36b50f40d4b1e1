"""Long work: how far it is, and that no helper outlives it."""

import os
import threading
import time

SECONDS = 10


class Progress:
    """`progress(done, unit, share)` prints a line every ten seconds; where the share of the work is known, with the
    time left."""

    def __init__(self, what: str):
        self.what = what
        self.started = self.reported = time.monotonic()

    def __call__(self, done: int, unit: str, share: float | None = None) -> None:
        now = time.monotonic()
        if now - self.reported < SECONDS:
            return
        self.reported = now
        left = f", {share:.0%}, {(now - self.started) * (1 - share) / share:.0f} s left" if share else ""
        print(f"{self.what}: {done:,} {unit}{left}", flush=True)


def end_with_parent(parent) -> None:
    """In a worker process, whose `parent_process()` this is: when that is killed, nobody may go on writing alongside
    the run that takes up the work."""

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
