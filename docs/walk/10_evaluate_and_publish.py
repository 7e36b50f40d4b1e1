# %% [markdown]
# # 10. Evaluate, compare, publish
#
# **Question.** One model answered 94 % and another 96 %. Is the second one better?

# %%
from walk import RUN, show, values

from eval.report.figures import columns

STAGES = ["sft", "honest", "grpo"]
TASKS = ["facts_known", "facts_unseen", "letters", "apples"]


def score(stage: str, task: str) -> tuple[float, float]:
    """A score and half of its 95 % interval."""
    found = values(f"eval/{stage}/results.json")["results"][task]
    return found["score,none"], 1.96 * found["score_stderr,none"]


series = {task: [score(stage, task) for stage in STAGES] for task in TASKS}
show("10_evaluate_and_publish", columns("Scores with their intervals", STAGES, series, f"{RUN}/eval"))

# %% [markdown]
# ## A score is the mean of a sample
#
# The tasks hold a few hundred questions. Others would have given another number; the standard error says how
# different.
# In `facts_unseen` the score counts answers that were made up: there lower is better.

# %%
found = values("eval/grpo/results.json")["results"]["apples"]
value, stderr, n = found["score,none"], found["score_stderr,none"], found["sample_len"]
print(f"apples, grpo: {value:.3f}, n = {n}, 95 % between {value - 1.96 * stderr:.3f} and {value + 1.96 * stderr:.3f}")

# %% [markdown]
# ## Two models answer the same questions
#
# So they are compared question by question, which tells more than two means. And who looks at many tasks finds a
# difference somewhere by luck: `p` is corrected for that.

# %%
from eval.compare import compare, table

print(table(compare(RUN / "eval" / "sft", RUN / "eval" / "honest")))

# %% [markdown]
# ## Did it read the questions before?
#
# A score on questions that stood in the training data says little. `data_prep.decontaminate` looked for them.

# %%
verdict = values("decontaminate/verdict.json")
print({key: value for key, value in verdict.items() if isinstance(value, (str, int, float, bool))})

# %% [markdown]
# ## Publish
#
# A model without its data, its figures and its limits is of little use to others. The model card holds them. A dry run
# sends nothing.

# %%
from recipes.push import main as push

push([str(RUN), "--namespace", "me", "--stages", "grpo", "--dry_run"])
card = min((RUN / "hub").glob("*grpo*/README.md"))
print(card.read_text()[:1500])

# %% [markdown]
# **What you see on tiny.** From `sft` to `honest` some tasks moved beyond noise, above all what is made up of
# strangers, and one of them became worse. Others did not move, however different their numbers look: 0.056 and 0.116
# of `apples_greedy` may be the same, with 250 problems.
#
# **Change and try.**
# - Compare `honest` with `grpo`. What did practice in one thing do to the others?
# - Another seed is another model: `make tiny SEED=1 RUN=runs/tiny-1`, then
#   `python -m eval.compare runs/tiny runs/tiny-1`. Which differences are larger than those you have just looked at?
# - To publish: `python -m recipes.push runs/tiny --namespace me` (private, unless `--public` is given).
