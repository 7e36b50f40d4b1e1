"""How many bytes of tensors a piece of code holds at once, found from shapes alone: nothing is allocated.

    with on_shapes() as live:
        model = AutoModelForCausalLM.from_config(config)    # tensors without data, as on the meta device
        with live.phase("training") as phase:
            model(input_ids=ids, labels=ids).loss.backward()
    phase.peak, phase.flops

The model's own code runs, in the precision of autocast, and autograd keeps what it keeps in training; a tensor's bytes
count until its storage is freed.
"""

import contextlib
import weakref
from dataclasses import dataclass, field

import torch
from torch._subclasses.fake_tensor import FakeTensorMode  # PyTorch documents it under this name alone
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Phase:
    """What one phase needed.

    Attributes:
        before: bytes that were held when it began.
        peak: most bytes that were held at once while it ran.
        flops: floating-point operations of its matrix products.
        parts: bytes of what is worth telling apart, such as logits.
    """

    before: int = 0
    peak: int = 0
    flops: int = 0
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def more(self) -> int:
        """Bytes at its peak beyond those that were held before."""
        return self.peak - self.before


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations return while it is active.

    Attributes:
        now: bytes that are held.
        peak: most bytes since the last phase began.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known: dict[int, weakref.ref] = {}

    def _count(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self.known:
            return tensor

        def freed(_) -> None:
            del self.known[key]
            self.now -= size

        self.known[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)
        return tensor

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return tree_map_only(torch.Tensor, self._count, result)

    @contextlib.contextmanager
    def phase(self):
        """A `Phase` of what runs within."""
        found = Phase(before=self.now)
        self.peak = self.now
        with FlopCounterMode(display=False) as counter:
            yield found
        found.peak, found.flops = self.peak, counter.get_total_flops()


@contextlib.contextmanager
def on_shapes():
    """Tensors that are made within have shapes and no data; a `LiveBytes` that counts them."""
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        yield live


def with_shapes(model: torch.nn.Module) -> torch.nn.Module:
    """A model of the meta device with tensors that `on_shapes`, which must be active, counts; tied ones stay tied."""
    made: dict[int, torch.Tensor] = {}

    def same(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            is_weight = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(empty, tensor.requires_grad) if is_weight else empty
        return made[id(tensor)]

    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, same(weight))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, same(buffer))
    return model
