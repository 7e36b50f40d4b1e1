"""Each layer of a model compiled, for the steps of training alone.

    with compiled_layers(model):
        with torch.compiler.set_stance("default"):     # a step; what is around it runs as it is
            ...

All layers share one graph, so this takes seconds where `torch_compile`, which compiles the model as one, takes up to a
minute (regional compilation: https://docs.pytorch.org/tutorials/recipes/regional_compilation.html). Evaluation and
generation have other shapes, each of which would be compiled anew.
"""

import contextlib
from collections.abc import Iterator

import torch


def compile_error() -> str | None:
    """Why nothing can be compiled on this machine, in a line; None where it can.

    Tried on a sum: a compiler may be there and the header files of Python missing.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2))
    except Exception as error:  # of the compiler, of the linker, of a folder that cannot be written
        return " ".join(str(error).split())[:200]
    return None


def compile_layers(model) -> bool:
    """Compile the layers of a model in place, at their first use; whether they are. Where the machine cannot, it says
    so."""
    layers = next((m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), None)
    if layers is None:
        print(f"{type(model).__name__} has no list of layers: it is trained uncompiled", flush=True)
        return False
    error = compile_error()
    if error:
        print(f"nothing can be compiled here, so training takes longer ({error})", flush=True)
        return False
    for layer in layers:
        layer.compile()
    return True


@contextlib.contextmanager
def compiled_layers(model) -> Iterator[None]:
    """While it lasts, a model's layers are compiled where the stance is `default`, and run as they are elsewhere."""
    if not compile_layers(model):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
