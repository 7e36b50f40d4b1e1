"""A page of the crawl, and what is true of it."""

from dataclasses import dataclass, field


@dataclass
class Article:
    """A good page's own text, the paragraphs without line breaks. `slug` is the last part of its URL."""

    title: str
    paragraphs: list[str]
    slug: str


@dataclass
class Page:
    """One page of the crawl with what is true of it: columns of truth/pages.jsonl, then how it is written."""

    title: str
    paragraphs: list[str]
    slug: str
    group: int
    keep: bool | None = True
    step: str | None = None
    pii: list[dict] = field(default_factory=list)
    numbers: list[dict] = field(default_factory=list)
    source: int | None = None  # the good page that this one is a copy of, whole or in part
    body: str = ""  # HTML in place of the paragraphs
    host: str = ""
    broken: bool = False
    encoding: str = "utf-8"
    fault: str | None = None  # of the record: empty, not_html, truncated

    @property
    def text(self) -> str:
        return "\n".join(self.paragraphs)

    @property
    def url(self) -> str:
        return f"http://{self.host}/{self.slug}"
