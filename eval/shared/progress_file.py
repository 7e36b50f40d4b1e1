"""How far a step of a pipeline is, said in a file to the process that waits for it.

    said = ShareDone()
    said(0.0)   # the work proper begins
    said(0.5)

`recipes.run` names the file in the environment of a step's first process and reads it (`recipes.pipeline.time_left`);
without one, nothing is written.
"""

import json
import os
import time
from pathlib import Path

VARIABLE = "STEP_SHARE_FILE"


class ShareDone:
    """`said(share)`: that share of the work, between 0 and 1, is done; written once a second at most, and at the end.

    A resumed step's first word is the share that an earlier process did.
    """

    def __init__(self):
        self.path = os.environ.get(VARIABLE)
        self.first = None
        self.written = 0.0

    def __call__(self, share: float) -> None:
        now = time.monotonic()  # the same clock in all processes
        if not self.path or (share < 1 and now - self.written < 1):
            return
        self.first = self.first or {"first_share": share, "first_at": now}
        self.written = now
        part = Path(f"{self.path}.part")
        part.write_text(json.dumps({**self.first, "share": share, "at": now}))
        os.replace(part, self.path)
