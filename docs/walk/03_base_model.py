# %% [markdown]
# # 3. A base model
#
# **Question.** What does a model do that has only learned to predict the next token of documents?

# %%
import torch
from walk import RUN, show, stage

from eval.report.figures import bars

model, tokenizer = stage("base")


def next_tokens(text: str, most: int = 8) -> list[tuple[str, float]]:
    """The likeliest next tokens of a text and their probabilities."""
    ids = tokenizer(text, return_tensors="pt").input_ids.to(model.device)
    with torch.no_grad():
        probabilities = model(ids).logits[0, -1].float().softmax(-1)
    top = probabilities.topk(most)
    return [(tokenizer.decode([i]), p) for i, p in zip(top.indices.tolist(), top.values.tolist())]


TEXT = "The people of Oakmere are"
rows = [(repr(token), p, f"{p:.3f}") for token, p in next_tokens(TEXT)]
show("03_base_model", bars(f"What comes after: {TEXT}", rows, f"{RUN}/base"))

# %% [markdown]
# ## Draw, append, again
#
# That is all of "generation": draw a token from this distribution, put it behind the text, ask again.

# %%
torch.manual_seed(0)
text = TEXT
for _ in range(12):
    tokens, weights = zip(*next_tokens(text, len(tokenizer)))
    drawn = int(torch.multinomial(torch.tensor(weights), 1))
    text += tokens[drawn]
print(text)

# %% [markdown]
# ## Temperature
#
# Near 0 the likeliest token is always taken; above 1 the unlikely ones get their chance.

# %%
from eval.generation.generate import generate

for temperature in (0.0, 0.7, 1.0, 1.6):
    reply = generate(model, tokenizer, ["Once upon a time"], max_new_tokens=40, temperature=temperature, seed=0)
    print(f"{temperature}: {reply[0][0].text!r}")

# %% [markdown]
# ## It does not answer, it goes on
#
# A question is the beginning of a document like any other. What follows a question in the documents?

# %%
for prompt in ("Who are you?", "Question: What is 4 * 7?\nAnswer:"):
    reply = generate(model, tokenizer, [prompt], max_new_tokens=40, temperature=0.0)
    print(f"{prompt!r}\n   -> {reply[0][0].text!r}\n")

# %% [markdown]
# ## It grew from noise
#
# The same beginning at several steps of the training.

# %%
from walk import read

for row in read("base/samples.jsonl"):
    if row["prompt"] == "The people of Oakmere":
        print(f"step {row['step']:5}: {row['continuation'][:100]!r}")

# %% [markdown]
# **What you see on tiny.** After a hundred steps there are words, after some hundred more there are facts, always
# about
# somebody of this world. To "Who are you?" it does not answer: it goes on with more text of its documents.
#
# **Change and try.**
# - `TEXT = "Viggo Lindqvist lives in"`, or another name that stands in `runs/tiny/world/facts.jsonl`. Now an invented
#   name. Does the distribution look less certain?
# - Ask for a fact that you state first: "The home of Ada Novak is in Dunmoor. Ada Novak lives in". It learns from the
#   prompt, and no weight changes. `python -m eval.probes.in_context --help` measures it.
