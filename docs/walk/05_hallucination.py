# %% [markdown]
# # 5. Hallucinations, and how to find what a model knows
#
# **Question.** Asked about somebody who does not exist, why does a model not say "I don't know"?

# %%
from collections import Counter

from walk import RUN, read, show

from eval.report.figures import columns

probes = read("refusals/probes.jsonl")
shares = sorted({round(probe["agreement"], 1) for probe in probes})
counted = Counter((probe["verdict"], round(probe["agreement"], 1)) for probe in probes)
verdicts = sorted({probe["verdict"] for probe in probes})
total = len(probes)
series = {verdict: [(counted[verdict, share] / total, 0.0) for share in shares] for verdict in verdicts}
title = "How many of several answers to a question agree, and what was known"
note = f"share of n = {total} questions; {RUN}/refusals/probes.jsonl"
show("05_hallucination", columns(title, [f"{share:.1f}" for share in shares], series, note))

# %% [markdown]
# ## Ask the same thing several times
#
# `sft` was shown answers, never a refusal. So it answers always, and only by asking again one sees that it draws lots.

# %%
from walk import ask

known = max(probes, key=lambda probe: sum(map(bool, probe["right"])))
unknown = min(probes, key=lambda probe: (sum(map(bool, probe["right"])), probe["agreement"]))
for probe in (known, unknown):
    print(f"\n{probe['question']} (right: {probe['answer']})")
    for text in ask("sft", probe["question"], tries=5):
        print("   sft:", text)

# %% [markdown]
# ## Probe, then teach
#
# That is the recipe of the lecture: question the model, compare with the truth, and put a refusal into the training
# data exactly where it was wrong. These rows were made of the probes above.

# %%
for row in read("refusals/train.jsonl")[:4]:
    print(row["kind"], "|", row["messages"][0]["content"], "->", row["messages"][-1]["content"])

# %% [markdown]
# ## Afterwards

# %%
for probe in (known, unknown):
    print(f"{probe['question']}\n   honest: {ask('honest', probe['question'])[0]}")

# %% [markdown]
# **What you see on tiny.** For a person of many pages all five answers agree; for a stranger they are different trades
# or towns. `honest` answers the first and refuses the second, although no rule looks at names: the refusals that it
# read were enough to connect "I am not sure" with words.
#
# **Change and try.**
# - Invent a name. `ask("honest", "Where does Zelda Zimmer live?")`
# - Does agreement alone tell what is known? Look for probes with `agreement` 1.0 and the verdict "does not know": what
#   is it sure of, and wrong about?
# - The same on your own documents: `python -m data_prep.refusals --help`
