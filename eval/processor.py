"""What this processor can do, by which training and evaluation choose their numerics.

    python -m eval.processor      # says it

`TUMBLER_BF16=0` in the environment makes a processor count as one without bf16 instructions.
"""

import os
from dataclasses import dataclass

from eval.cli import command, parse


@dataclass
class ProcessorArguments:
    """None: the command only says what it finds."""


def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware; without, PyTorch emulates it ten times slower than
    float32."""
    import torch

    able = torch.cpu.get_capabilities()
    return os.environ.get("TUMBLER_BF16", "1") != "0" and bool(able.get("avx512_bf16") or able.get("bf16"))


@command
def main(argv: list[str] | None = None) -> None:
    parse((ProcessorArguments,), argv)
    import torch

    name = torch.cpu.get_capabilities().get("cpu_name", "unknown")
    print(f"{name}, {torch.get_num_threads()} threads, bf16: {'yes' if has_bf16() else 'no, float32 instead'}")


if __name__ == "__main__":
    main()
