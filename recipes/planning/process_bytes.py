"""What a training process on a CPU takes beyond its tensors: libraries, rows, compiled products, an allocator's spare.

    process_bytes(job, steps, held, needs)

All of it is measured, with PyTorch 2.13, transformers 5.23 and TRL 1.12 on an Intel Xeon with AMX (docs/dry_run.md);
on a GPU none of it counts, as there the tensors fill the memory.
"""

import os
import random
from collections.abc import Sequence

from recipes.planning.phases import Job, shape

MIB = 2**20
LIBRARIES = 540 * MIB  # Python, PyTorch, transformers, datasets and TRL, as a trainer begins
WORKSPACE = {True: 110 * MIB, False: 40 * MIB}  # threads and scratch of products in bf16 and in float32
SPARE = 1.3  # bytes of the process for each byte of tensors at their peak
OTHERS = 0.3  # and of the other phases' peaks, whose blocks have other sizes
ROW_TOKEN = 30  # bytes of a token in the rows, as they come and as they are read
MOST_ROWS = 256 * MIB  # rows lie in a mapped file, which gives way
KERNELS = 18  # that oneDNN compiles for the products of one batch shape
COMPILED = {True: 10 * MIB, False: 2 * MIB}  # of one such shape, in bf16 and in float32
FRAGMENTS = {True: 1.1 * MIB, False: 0.2 * MIB}  # of one shape more


def shapes_kept() -> int:
    """Batch shapes whose products stay compiled: oneDNN keeps 1,024 kernels, or what its own variable says."""
    capacity = os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "")
    return (int(capacity) if capacity.isdecimal() else 1024) // KERNELS


def shapes(job: Job, steps: int | None) -> int:
    """Different shapes among the batches of the run; each is compiled by itself."""
    if job.stage == "pretrain":
        return 2
    draw, packed = random.Random(0), getattr(job.args, "pack_rows", False)
    drawn = min(steps or 1000, 1000)
    seen = {shape(draw.choices(job.lengths, k=job.batch), packed) for _ in range(drawn)}
    if str(job.training_args.eval_strategy.value) != "no":
        rows = job.training_args.per_device_eval_batch_size
        seen |= {shape(draw.choices(job.lengths, k=rows), packed) for _ in range(10)}
    return len(seen)


def process_bytes(job: Job, steps: int | None, held: float, needs: Sequence[float]) -> float:
    """Peak bytes of the process.

    Args:
        held: bytes of weights, gradients and optimiser.
        needs: bytes of the phases beyond those, the largest first.
    """
    bf16 = bool(job.training_args.bf16)
    tokens = (job.rows or 0) * sum(job.lengths) / len(job.lengths)
    rows = 0 if job.stage == "pretrain" else min(ROW_TOKEN * tokens, MOST_ROWS)
    count, kept = shapes(job, steps), shapes_kept()
    compiled = COMPILED[bf16] * min(count, kept) + FRAGMENTS[bf16] * max(0, count - kept)
    return LIBRARIES + WORKSPACE[bf16] + rows + compiled + held + SPARE * needs[0] + OTHERS * sum(needs[1:])
