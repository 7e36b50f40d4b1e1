"""Muon for matrices, AdamW for the rest, as one optimiser that `Trainer` can drive.

Muon (Jordan et al. 2024) orthogonalises the momentum of each weight matrix; embeddings, the output head and vectors
take AdamW. `torch.optim.Muon` does the former; this joins the two through Trainer's optimiser factory.
"""

import torch


class MuonAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` and `torch.optim.AdamW` behind one `param_groups` and one state dict."""

    def __init__(self, matrices: list, rest: list, muon_lr: float, lr: float, weight_decay: float, betas: tuple[float, float], eps: float):
        self.parts = []
        if matrices:
            self.parts.append(torch.optim.Muon(matrices, lr=muon_lr, weight_decay=weight_decay))
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
        embeddings = {id(m.weight) for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m is not None}
        params = [p for p in model.parameters() if p.requires_grad]
        is_matrix = [p.ndim == 2 and id(p) not in embeddings for p in params]
        return MuonAdamW([p for p, m in zip(params, is_matrix) if m], [p for p, m in zip(params, is_matrix) if not m], **kwargs)
