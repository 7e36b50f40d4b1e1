"""Articles of the tiny internet as a crawl has them: gzipped WARC files of HTML pages, good and bad, and the truth
about each.

    from data_prep.world.crawl import Article, write_crawl
    write_crawl(articles, Path("runs/tiny/world"), seed=0)

Every article becomes one good page; bad pages are added in the shares of `pages.BAD_SHARES`, so that about 80 % of the
pages are good. A few families of pages share a part of their text, and some good pages hold personal data, or numbers
that only look like it. One seed gives the same bytes. Hosts end in `.example` (RFC 2606), so that no real site is
named; the one banned domain is real, since a URL filter has to know it. The personal data belongs to nobody: see
`personal_data`.
"""

from data_prep.world.crawl.page import Article
from data_prep.world.crawl.write import write_crawl

__all__ = ["Article", "write_crawl"]
