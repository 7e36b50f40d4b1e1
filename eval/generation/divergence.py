"""What a model thinks of replies: their log-probability and entropy, how much they repeat themselves, and where
leaving the start stops to pay.

logp, entropy = log_probability(model, prompts, replies)
"""

NUMBERS = 2**28  # of a tensor of log-probabilities: 1 GiB


def log_probability(
    model,
    prompts: list[list[int]],
    replies: list[list[int]],
    written: list[list[int]] | None = None,
    batch_size: int = 256,
) -> tuple[list[float], list[float]]:
    """log p(reply | prompt) in nats, teacher-forced at temperature 1, and the mean entropy of the model over its
    tokens, in nats; one a pair of token ids.

    The mean of log p − log p_other over a model's own samples estimates its KL divergence from the other.

    Args:
        written: for each reply which of its tokens count (1; 0: a tool's result); default all.
        batch_size: pairs at a time, fewer where the vocabulary times the tokens of so many would be over `NUMBERS`.
    """
    import torch

    sums, entropies = [], []
    longest = max((len(p) + len(r) for p, r in zip(prompts, replies)), default=1)
    batch_size = max(1, min(batch_size, NUMBERS // (longest * model.config.get_text_config().vocab_size)))
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        pairs = list(zip(prompts[part], replies[part]))
        width = max(len(p) + len(r) for p, r in pairs)
        ids = torch.zeros(len(pairs), width, dtype=torch.long)
        counted = torch.zeros(len(pairs), width)
        for i, (p, r) in enumerate(pairs):  # padded on the right: causal attention never sees it
            ids[i, : len(p) + len(r)] = torch.tensor(p + r)
            counted[i, len(p) : len(p) + len(r)] = torch.tensor(written[part][i]).float() if written else 1
        ids, counted = ids.to(model.device), counted[:, 1:].to(model.device)
        with torch.inference_mode():
            logp = model(input_ids=ids).logits[:, :-1].float().log_softmax(-1)
            sums += (logp.gather(-1, ids[:, 1:, None]).squeeze(-1) * counted).sum(1).tolist()
            entropies += (-(logp.exp() * logp).sum(-1) * counted).sum(1).div(counted.sum(1).clamp(min=1)).tolist()
    return sums, entropies


def overoptimization(points: list[tuple[float, float]]) -> tuple[float, float] | None:
    """α and β of gain(d) = d (α − β ln d), the law of a gold score under RL on a reward model (Gao, Schulman, Hilton
    2022, section 3.1), by least squares.

    The gain is greatest at d = exp(α / β − 1).

    Args:
        points: (d, gain over the start), d the square root of the KL divergence from the start in nats.

    Returns:
        None with fewer than three points beyond the start, or where the fitted gain has no peak (β ≤ 0).
    """
    import numpy as np

    away = np.array([(d, gain) for d, gain in points if d > 0])
    if len(away) < 3:
        return None
    d, gain = away.T
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([d, -d * np.log(d)], 1), gain, rcond=None)
    return (float(alpha), float(beta)) if beta > 0 else None


def repeated(text: str, n: int = 2) -> float:
    """The share of a text's n-grams of words that stood in it before (seq-rep-n, Welleck et al. 2020)."""
    words = text.lower().split()
    grams = list(zip(*(words[i:] for i in range(n))))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
