# %% [markdown]
# # 7. Models need tokens to think
#
# **Question.** Why is an answer worse when it has to come first?

# %%
from walk import RUN, show, values

from eval.report.figures import columns


def score(stage: str, task: str) -> tuple[float, float]:
    """A score and half of its 95 % interval, as the evaluation wrote them."""
    found = values(f"eval/{stage}/results.json")["results"][task]
    return found["score,none"], 1.96 * found["score_stderr,none"]


stages = ["sft", "honest", "grpo"]
series = {
    "in steps": [score(stage, "apples") for stage in stages],
    "at once": [score(stage, "apples_at_once") for stage in stages],
}
show("07_room_to_think", columns("Word problems, right answers", stages, series, f"{RUN}/eval"))

# %% [markdown]
# ## The same problem in two ways
#
# For each token the model does the same amount of work: a fixed number of layers. A problem of three calculations does
# not fit into one token.

# %%
from walk import ask, read

problem = read("world/eval/apples.jsonl")[0]
question = problem["question"].removesuffix(" Think step by step.")
print(f"{question} (right: {problem['answer']})")
for way in (" Think step by step.", " Answer at once."):
    print(f"  {way.strip():20} {ask('grpo', question + way)[0]}")

# %% [markdown]
# ## How much work is that?
#
# About two operations a weight and token: the reply in steps has more tokens, and so much more computation went into
# its last number.

# %%
from walk import stage

model, tokenizer = stage("grpo")
weights = sum(weight.numel() for weight in model.parameters())
for way in (" Think step by step.", " Answer at once."):
    tokens = len(tokenizer.encode(ask("grpo", question + way)[0]))
    print(f"{way.strip():20} {tokens:3} tokens, about {2 * weights * tokens / 1e6:.0f} million operations")

# %% [markdown]
# **What you see on tiny.** In steps the reasoner is right nearly always, at once hardly ever, although the knowledge
# is
# the same. Practice in steps does not help where there are no steps.
#
# **Change and try.**
# - Give it half of the way: end the question with "The 2 oranges cost 2 * 2 = 4." Is "at once" then right?
# - Which of the sums is the hard one? Ask for each alone: `ask("grpo", "What is 13 - 4?")`
# - A sentence that does not matter ("Omar likes plums.") in the middle: `make experiments` has a grade with those.
