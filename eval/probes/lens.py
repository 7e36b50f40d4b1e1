"""What each layer of a causal language model would say next, and where each head looks: the logit lens.

    lens = Lens(model, tokenizer)
    seen = lens.look(ids)          # everything that `eval.probes.inside` shows of a text

The logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens") reads the hidden state behind each layer as if
it were the last: through the model's final norm and its output embeddings. The norm is found by running the model: it
is the module whose output is what the output embeddings are given. The last row is the model's own logits.
"""

import base64
import math

from eval.token_text import token_bytes, visible

LENS_TOKENS, NEXT_TOKENS = 5, 20  # shown of a layer, and of the next-token distribution
TEMPERATURES = [round(0.1 * step, 1) for step in range(1, 21)]  # of the slider, behind 0
MOST_TOKENS = 128  # attention grows with their square


def final_norm(model) -> tuple:
    """(the norm between the last layer and the output embeddings, what it was given, the logits) of a short text; None
    and None where there is no such norm."""
    import torch

    outputs, given, handles = [], [], []
    for module in model.modules():
        if "norm" in type(module).__name__.lower():
            handles.append(module.register_forward_hook(lambda m, args, out: outputs.append((m, args[0], out))))
    handles.append(model.get_output_embeddings().register_forward_pre_hook(lambda _, args: given.append(args[0])))
    try:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[0, 1, 0]], device=model.device), use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    for norm, state, out in reversed(outputs):
        if out.data_ptr() == given[-1].data_ptr():
            return norm, state, logits
    return None, None, logits


def scaled(logits, config):
    """Logits with what some families do behind the output embeddings: Granite divides, Cohere multiplies, Gemma 2
    caps."""
    divisor = getattr(config, "logits_scaling", None)
    if divisor:
        logits = logits / divisor
    factor = getattr(config, "logit_scale", None)
    if factor:
        logits = logits * factor
    cap = getattr(config, "final_logit_softcapping", None)
    if cap:
        logits = cap * (logits / cap).tanh()
    return logits


def _rounded(table, digits: int) -> list[list[float]]:
    """The rows of a tensor, rounded."""
    rows = []
    for row in table.tolist():
        rows.append([round(value, digits) for value in row])
    return rows


def _finite(logits) -> list[list[float]]:
    """The rows of logits, rounded; −1e9 in place of −∞, which JSON does not know."""
    rows = []
    for row in logits.tolist():
        rows.append([round(value, 4) if value > -math.inf else -1e9 for value in row])
    return rows


def spread(count: int, most: int) -> list[int]:
    """At most `most` of 0 … count − 1, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def packed(weights) -> str:
    """Attention weights (heads × tokens × tokens) in 1/255, of each head the rows up to the diagonal, as base64."""
    import torch

    size = weights.shape[-1]
    rows, columns = torch.tril_indices(size, size)
    whole = (weights[:, rows, columns].float() * 255).round().clamp(0, 255)
    return base64.b64encode(whole.to(torch.uint8).cpu().numpy().tobytes()).decode()


class Lens:
    """A model to look into.

    Args:
        rows: at most so many layers are read, evenly spread; more take longer.

    Attributes:
        note: why the inner layers may be read wrongly, or "".
    """

    def __init__(self, model, tokenizer, rows: int = 13):
        model.eval()
        model.set_attn_implementation("eager")  # the others keep no weights of attention
        self.model, self.tokenizer, self.rows = model, tokenizer, rows
        self.head = model.get_output_embeddings()
        self.config = model.config.get_text_config()
        self.vocabulary = min(len(tokenizer), self.head.weight.shape[0])
        self.norm, state, logits = final_norm(model)
        self.note = self._doubt(state, logits[0, :, : self.vocabulary].float())

    def _doubt(self, state, logits) -> str:
        """Whether the lens, held to the last layer, fails to show what the model says: why, or ""."""
        import torch

        if self.norm is None:
            return "No norm was found before the output embeddings: the inner layers are read without one."
        with torch.inference_mode():
            off = (self.says(state[0]) - logits).abs().max() / (logits.abs().max() + 1e-9)
        if off < 0.02:
            return ""
        return "The model does more than a norm and the output embeddings after its last layer, and the lens does not."

    def says(self, hidden):
        """Logits (tokens × vocabulary) of hidden states (tokens × width) behind any layer."""
        normed = hidden if self.norm is None else self.norm(hidden)
        return scaled(self.head(normed).float(), self.config)[:, : self.vocabulary]

    def read(self, ids: list[int]) -> tuple[list, list, object]:
        """(hidden states before and between the layers, attention of each layer, logits) of a text.

        Hidden states are tokens × width, attention is heads × tokens × tokens or None in a layer that has none,
        logits are tokens × vocabulary.
        """
        import torch

        given = torch.tensor([ids], device=self.model.device)
        out = self.model(input_ids=given, use_cache=False, output_hidden_states=True, output_attentions=True)
        hidden = [state[0] for state in out.hidden_states[:-1]]  # the last one is normed in most families
        attention = [weights[0] if weights is not None else None for weights in out.get("attentions") or []]
        return hidden, attention, out.logits[0, :, : self.vocabulary].float()

    def look(self, ids: list[int]) -> dict:
        """What the page shows of a text: `tokens`, `lens` (rows of layers), `next` for each token, `attention`."""
        import torch

        with torch.inference_mode():
            hidden, attention, logits = self.read(ids)
            chosen = spread(len(hidden), self.rows - 1)
            named = [("embedding" if layer == 0 else f"layer {layer}", hidden[layer]) for layer in chosen]
            lens = [{"layer": name, **self._likeliest(self.says(state))} for name, state in named]
            lens.append({"layer": f"layer {len(hidden)} (says)", **self._likeliest(logits)})
            after = self._after(logits)
            heads = [
                {"layer": layer, "heads": weights.shape[0], "weights": packed(weights)}
                for layer, weights in enumerate(attention, 1)
                if weights is not None
            ]
        used = {i for row in lens for place in row["ids"] for i in place}
        used |= {i for place in after["ids"] for i in place} | set(ids)
        return {"ids": ids, "words": self.words(used), "lens": lens, "next": after, "attention": heads}

    def words(self, ids) -> dict[int, dict]:
        """What tokens look like: `text`, and whether it is a control token (`mark`)."""
        ids, marks = sorted(ids), self.tokenizer.added_tokens_decoder
        raw = token_bytes(self.tokenizer, ids)
        return {i: {"text": visible(b) or b.hex(" "), "mark": i in marks} for i, b in zip(ids, raw)}

    def _likeliest(self, logits) -> dict:
        best = logits.softmax(-1).topk(min(LENS_TOKENS, logits.shape[-1]))
        return {"ids": best.indices.tolist(), "p": _rounded(best.values, 4)}

    def _after(self, logits) -> dict:
        """Of each token the likeliest next ones with their logits below the greatest, and what these are divided by at
        each temperature (logsumexp), so that a page knows every probability exactly."""
        import torch

        below = logits - logits.max(-1, keepdim=True).values
        best = below.topk(min(NEXT_TOKENS, below.shape[-1]))
        sums = torch.stack([(below / t).logsumexp(-1) for t in TEMPERATURES], -1)
        return {
            "ids": best.indices.tolist(),
            "logits": _finite(best.values),
            "sums": _rounded(sums, 5),
            "vocabulary": self.vocabulary,
        }

    def draw(self, ids: list[int], temperature: float, generator=None) -> int:
        """The next token behind a text, drawn at a temperature; the likeliest at 0."""
        import torch

        with torch.inference_mode():
            out = self.model(input_ids=torch.tensor([ids], device=self.model.device), use_cache=False)
            logits = out.logits[0, -1, : self.vocabulary].float().cpu()
        if temperature == 0:
            return int(logits.argmax())
        return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))
