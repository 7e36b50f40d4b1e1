# %% [markdown]
# # 4. Conversations make an assistant
#
# **Question.** How does a model that continues documents become one that answers? Is it told to, or is it shown?

# %%
from markupsafe import Markup
from walk import read, show, stage

from data_prep.tokenizer_pages.show import tokens_of

tokenizer = stage("sft")[1]
conversations = read("world/conversations/train.jsonl")


def masked(messages: list[dict]) -> Markup:
    """A conversation in tokens; what the model learns to write is underlined."""
    tokens = tokens_of(tokenizer, {"messages": messages})["tokens"]
    line = "text-decoration: underline 2px"
    pieces = [Markup('<span style="{}">{}</span> ').format(line if t["loss"] else "", t["text"]) for t in tokens]
    return Markup('<div class="tokens">{}<small>underlined: carries loss</small></div>').format(
        Markup("").join(pieces)
    )


show("04_conversations", *[masked(row["messages"]) for row in conversations[:3]])

# %% [markdown]
# ## A conversation is one text
#
# Control tokens say whose turn it is. Nobody can type them: what a user writes is cut into other tokens.

# %%
print(tokenizer.apply_chat_template(conversations[0]["messages"], tokenize=False))

# %% [markdown]
# ## The mask
#
# The training is the same as before: predict the next token. Only the loss of what the user wrote is left out, so that
# the model learns to answer and not to ask. In numbers, -100 is "carries no loss".

# %%
from recipes.training.masks import encode_row

row = encode_row(conversations[0], tokenizer, tokenizer.chat_template, True)
told = list(zip(tokenizer.convert_ids_to_tokens(row["input_ids"]), row["assistant_masks"]))
print(told[:4], "…", told[-6:])
print(f"{sum(row['assistant_masks'])} of {len(row['input_ids'])} tokens carry loss")

# %% [markdown]
# ## Before and after

# %%
from walk import ask

from eval.generation.generate import generate

for question in ("Who are you?", "What is 4 * 7?", "Hello!"):
    (before,) = generate(*stage("base"), [question], max_new_tokens=30, temperature=0.0)[0]
    print(f"{question}\n   base: {before.text!r}\n   sft:  {ask('sft', question)[0]!r}\n")

# %% [markdown]
# **What you see on tiny.** The assistant answers, stops, and knows a name for itself. Nothing told it that it is an
# assistant: it imitates the people who wrote the conversations, their faults among it (chapter 9 is about those).
#
# **Change and try.**
# - Where does "who it is" come from? Look for "Tumbler" in `conversations`: `[r for r in conversations if …]`.
# - Ask `ask("sft", "What is the capital of France?")`. Was anything like it in the conversations?
# - Write ten conversations of your own as JSON lines with `messages` and train on them, in seconds:
#   `python -m recipes.sft --config recipes/tiny/sft.yaml --model_name_or_path runs/tiny/sft --max_steps 20 …`
