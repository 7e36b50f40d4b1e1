"""Says of each backend of the sandbox whether it works here:

python -m eval.tools.sandbox
"""

from dataclasses import dataclass, field

from eval.cli import command, parse
from eval.tools.sandbox import run_program
from eval.tools.sandbox.backends import BACKENDS
from eval.tools.sandbox.probe import find_backend, probe_backend, why_not


@dataclass
class SandboxArguments:
    backend: str = field(default="auto", metadata={"help": f"auto (all), or one of {', '.join(BACKENDS)}"})


@command
def main(argv: list[str] | None = None) -> None:
    """Tell of each backend whether it works, and what to do if not; exit code 2 if none does."""
    (args,) = parse((SandboxArguments,), argv)
    for name, backend in BACKENDS.items():
        if args.backend not in ("auto", name):
            continue
        why = why_not(name)
        if why:
            print(f"{name}: does not work: {why}. Cure: {backend.cure}")
        else:
            result = run_program("", "", backend=name)
            print(
                f"{name}: works, {1000 * result.seconds:.0f} ms a program ({result.version}, {probe_backend(name)[0]})"
            )
    find_backend(args.backend)


if __name__ == "__main__":
    main()
