# %% [markdown]
# # 8. Preferences, a reward model, PPO, and how it is gamed
#
# **Question.** Nobody can write down what makes a verse good. Can a model learn it from people who only say which of
# two they like better? And what if it learns that too well?

# %%
from walk import RUN, read, show

from eval.report.figures import lines

log = [row for row in read("ppo/log.jsonl") if "objective/scores" in row]
reward = [(row["step"], row["objective/scores"]) for row in log]
kl = [(row["step"], row["objective/kl"]) for row in log]
curves = {"reward of its verses": reward, "distance from honest (KL, nats)": kl}
show("08_preferences", lines("PPO", curves, "update", f"n = {len(log)} updates; {RUN}/ppo/log.jsonl"))

# %% [markdown]
# ## People rank
#
# Here "people" are a hidden taste (`data_prep/world/taste.py`) that ranks with noise. No model ever sees its score.

# %%
from data_prep.world import taste

pair = read("preferences/test.jsonl")[0]
print("asked:    ", pair["prompt"][0]["content"])
print("preferred:", pair["chosen"][0]["content"])
print("rejected: ", pair["rejected"][0]["content"])

# %% [markdown]
# ## The reward model imitates their taste

# %%
from eval.generation.models import load_reward_model
from eval.pairs import score

judge = load_reward_model(str(RUN / "reward"))
asked = [{"role": "user", "content": "Write a verse about the moon."}]


def rewards(verses: list[str]) -> list[float]:
    """The reward model's score of each verse."""
    return score(*judge, [[*asked, {"role": "assistant", "content": verse}] for verse in verses])


GOOD = "The silver moon is dancing in the golden light,\nand the gentle birds are singing by the night."
BAD = "The very big thing is waiting in the boring day,\nand the plain stuff are sitting by the stone."
for verse, points in zip((GOOD, BAD), rewards([GOOD, BAD])):
    print(f"reward {points:5.2f}, gold {taste.gold('moon', verse):5.2f}: {verse!r}")

# %% [markdown]
# ## PPO writes what the reward model likes

# %%
from walk import ask

for name in ("honest", "ppo"):
    for verse in ask(name, asked[0]["content"], tries=3, max_new_tokens=48):
        print(f"{name:7} reward {rewards([verse])[0]:5.2f}, gold {taste.gold('moon', verse):5.2f}: {verse!r}")

# %% [markdown]
# ## Gaming it
#
# A reward model is a net like any other, and has its blind spots. Search for them: change one word at a time, keep
# what
# scores higher, and look at both scores.

# %%
import random

rng = random.Random(0)
vocabulary = [*taste.LIKED, *taste.DISLIKED, *taste.NOUNS, "moon", "and", "the", "night", "light"]
verse, points = GOOD, rewards([GOOD])[0]
for turn in range(15):
    words = verse.split(" ")
    tries = [verse]
    for _ in range(32):
        changed = list(words)
        changed[rng.randrange(len(words))] = rng.choice(vocabulary)
        tries.append(" ".join(changed))
    points, verse = max(zip(rewards(tries), tries))
    if turn % 5 == 4:
        print(f"reward {points:5.2f}, gold {taste.gold('moon', verse):5.2f}: {verse!r}")

# %% [markdown]
# **What you see on tiny.** PPO's verses please the people more than those of `honest`. The search goes further: the
# reward rises with each change, and the verse turns into nonsense that the people like less than the one it began
# with.
# PPO that trains too long does the same, which is why it is stopped early.
#
# **Change and try.**
# - Start the search at `BAD`. Where does it end?
# - `make experiments` trains PPO past its peak (`ppo_long`) and finds the peak by a judge that is not trained on.
# - Rank some verses yourself: `python -m data_prep.label --help`
