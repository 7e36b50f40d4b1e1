"""Muon for matrices, AdamW for the rest, as one optimiser that `Trainer` can drive.

Muon (Jordan et al. 2024) orthogonalises the momentum of each weight matrix; embeddings, the output head and vectors
take AdamW. `MuonFactory` joins the two through Trainer's optimiser factory.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist

from eval.processor import has_bf16


def orthogonalise(
    matrices: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float, dtype: torch.dtype
) -> torch.Tensor:
    """The Newton–Schulz iteration of Muon on a batch of matrices.

    Args:
        matrices: [count, rows, columns].
        dtype: of the iteration.

    Returns:
        [count, rows, columns] in `dtype`: each matrix with singular values near 1.
    """
    a, b, c = coefficients
    x = matrices.to(dtype)
    tall = x.size(1) > x.size(2)
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, update, x, beta=a)
    return x.mT if tall else x


def shared_out(
    matrices: torch.Tensor, compute: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype
) -> torch.Tensor:
    """`compute` of the same matrices in every process: each does its part, and all get the whole.

    Args:
        matrices: [count, rows, columns].
        compute: keeps the shape, and takes each matrix alone.
        dtype: of the result.
    """
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if world == 1:
        return compute(matrices).to(dtype)
    count, rows, columns = matrices.shape
    each = math.ceil(count / world)
    padded = torch.cat([matrices, matrices.new_zeros(each * world - count, rows, columns)])
    mine = compute(padded.chunk(world)[dist.get_rank()]).to(dtype).contiguous()
    parts = [torch.empty_like(mine) for _ in range(world)]
    dist.all_gather(parts, mine)
    return torch.cat(parts)[:count]


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon`, which orthogonalises one matrix after the other and always in bfloat16.

    Here all matrices of one shape go through one batched product, in bfloat16 on a GPU and on a CPU that has the
    instructions, else in float32. Under data parallelism, where all processes have the same gradients, each does its
    part of the matrices.
    """

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            alike = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[p.shape, p.device].append(p)
            for (_, device), parameters in alike.items():
                dtype = torch.bfloat16 if device.type != "cpu" or has_bf16() else torch.float32
                self._step_alike(parameters, group, dtype)

    def _step_alike(self, parameters: list, group: dict, dtype: torch.dtype) -> None:
        """One step of parameters that have the same shape."""
        updates = []
        for p in parameters:
            state = self.state[p]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(p.grad)
            state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
            momentum = state["momentum_buffer"]
            updates.append(p.grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum)
        stacked = torch.stack(updates)
        iterate = partial(
            orthogonalise,
            coefficients=group["ns_coefficients"],
            steps=group["ns_steps"],
            eps=group["eps"],
            dtype=dtype,
        )
        directions = shared_out(stacked, iterate, parameters[0].dtype)
        rows, columns = parameters[0].shape
        rate = group["lr"] * math.sqrt(max(1, rows / columns))  # torch.optim.Muon's adjust_lr_fn "original"
        for p, direction in zip(parameters, directions):
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(direction, alpha=-rate)


class MuonAdamW(torch.optim.Optimizer):
    """`BatchedMuon` and `torch.optim.AdamW` behind one `param_groups` and one state dict."""

    def __init__(
        self,
        matrices: list,
        rest: list,
        muon_lr: float,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        eps: float,
    ):
        self.parts = []
        if matrices:
            self.parts.append(BatchedMuon(matrices, lr=muon_lr, weight_decay=weight_decay))
        if rest:  # LoRA trains matrices alone
            self.parts.append(torch.optim.AdamW(rest, lr=lr, betas=betas, eps=eps, weight_decay=0.0, fused=True))
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """The scheduler writes `self.param_groups`; the parts must read the same dictionaries."""
        start = 0
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[start : start + count]
            start += count
            for group in part.param_groups:
                for p in group["params"]:
                    if p in self.state:
                        part.state[p] = self.state[p]
            self.state.update(part.state)

    def step(self, closure=None):
        for part in self.parts:
            part.step()
            self.state.update(part.state)

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self._share()


class MuonFactory:
    """What `Trainer(optimizer_cls_and_kwargs=(MuonFactory, kwargs))` instantiates and calls with the model."""

    def __call__(self, model, **kwargs) -> MuonAdamW:
        embeddings = {
            id(m.weight) for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m is not None
        }
        params = [p for p in model.parameters() if p.requires_grad]
        is_matrix = [p.ndim == 2 and id(p) not in embeddings for p in params]
        return MuonAdamW(
            [p for p, m in zip(params, is_matrix) if m], [p for p, m in zip(params, is_matrix) if not m], **kwargs
        )
