# %% [markdown]
# # 1. From a crawl to documents
#
# **Question.** A language model reads "the internet". What is left of a crawl when the rubbish is out, and who decides
# what rubbish is?
#
# Run the cells from top to bottom, here or with `python docs/walk/01_crawl.py`. `make tiny` has to be done.

# %%
from walk import RUN, read, show, values

from eval.report.figures import bars

steps = values("web/funnel.json")["steps"]
left = [(step["step"], step["documents"], f"{step['documents']:,}") for step in steps]
show("01_crawl", bars("Documents left after each step", left, f"{RUN}/web/funnel.json"))

# %% [markdown]
# ## A page as it comes
#
# The crawl of this world is invented, but it is stored as Common Crawl stores the real one: WARC files with raw HTML.
# This page was taken out by its address alone.

# %%
page = read("web/removed/url/00000.jsonl.gz")[0]
print(page["metadata"]["url"], "\n", page["text"][:600], "…")

# %% [markdown]
# ## The text in it
#
# Menus, scripts and advertisements are not what a model should learn to write. `Extraction` keeps the article.

# %%
from datatrove.data import Document

from data_prep.crawl.filters import Extraction

extraction = Extraction(250, [], False, 5.0, None)
document = Document(text=page["text"], id="page")
kept = extraction.filter(document)
print(kept, "\n", document.text[:600])

# %% [markdown]
# ## What the other steps took
#
# One example of each step, with the reason. Do you agree with each of them?

# %%
for file in sorted((RUN / "web" / "removed").glob("*/00000.jsonl.gz")):
    rows = read(str(file.relative_to(RUN)))
    if rows:
        reason = rows[0]["metadata"].get("filter_reason", "a copy of another page")
        print(f"\n{file.parent.name}: {len(rows)} pages, the first one for {reason}")
        print("  ", rows[0].get("text", "")[:200].replace("\n", " "))

# %% [markdown]
# ## What stays

# %%
documents = read("web/documents/00000.jsonl.gz")
print(f"{len(documents)} documents; one of them:\n\n{documents[0]['text'][:700]}")

# %% [markdown]
# **What you see on tiny.** Four pages in five stay. Copies of other pages are the largest part of what goes, before
# pages
# in other languages. No step understands a page: each measures something simple, such as the share of repeated lines.
# Most advertisements and error pages go, and much of what stays is dull all the same.
#
# **Change and try.**
# - Write your own page as HTML, with a menu and two paragraphs, and give it to `extraction.filter`. What is lost?
# - Every threshold stands in `data_prep/web.yaml`, with its source. Run it with another one:
#   `python -m data_prep.web --input_dir runs/tiny/world/warc --output_dir runs/mine/web --min_doc_words 100`
# - `runs/mine/web/README.md` is then the card of your data set. Would you publish it?
