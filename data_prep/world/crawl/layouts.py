"""The hosts of the crawl, and the HTML that each makes of a page: what is around an article differs."""

import html
import random
import re

from data_prep.world.crawl.page import Page

ADS = (
    "Save up to 50 percent on winter coats", "Your neighbour pays less for his insurance",
    "Ten tricks your dentist will never tell", "Win a weekend for two by the sea", "New kettles from 19.99",
    "Sell your old car today", "Hot deals end tonight",

)  # fmt: skip
MENU = ("Home", "News", "People", "Towns", "Trades", "Recipes", "Shops", "Weather", "Contact", "Log in")
COOKIES = "We use cookies to improve your experience. By continuing you accept our cookie policy."


def _links(titles: list[str], item: str = "li") -> str:
    return "".join(f'<{item}><a href="/{i}">{html.escape(t)}</a></{item}>' for i, t in enumerate(titles))


def _newspaper(p):
    return f"""<!DOCTYPE html>
<html lang="en"><head>{p["head"]}<meta name="viewport" content="width=device-width">\
<link rel="stylesheet" href="/s.css">
<script>window.dataLayer=window.dataLayer||[];function gtag(){{dataLayer.push(arguments);}}\
gtag('config','UA-{p["n"]}');</script></head>
<body><div id="cookie-banner" class="cookie-consent" role="dialog"><p>{COOKIES}</p>
<button>Accept all</button><button>Settings</button></div>
<header class="site-header"><a class="logo" href="/">The {p["site"]}</a><nav class="main-nav"><ul>{_links(MENU)}</ul>\
</nav></header>
<div class="advertisement ad-banner"><a href="/ad/{p["n"]}">{p["ads"][0]}</a></div>
<main><article class="article"><h1>{p["title"]}</h1><div class="byline meta">By our own reporter</div>
<div class="article-body">
{p["body"]}
</div><div class="share-buttons"><a href="#">Share</a><a href="#">Tweet</a><a href="#">Print</a></div></article>
<aside class="sidebar"><h3>Most read</h3><ol>{_links(p["others"])}</ol><div class="ad">{p["ads"][1]}</div></aside>\
</main>
<footer class="site-footer"><p>Copyright The {p["site"]}. All rights reserved.
<a href="/terms">Terms of use</a> <a href="/privacy">Privacy policy</a></p></footer>
<script src="/js/app.js"></script></body></html>"""


def _blog(p):
    return f"""<!DOCTYPE html>
<html><head>{p["head"]}<meta name="generator" content="Press 5.2"><style>.widget{{margin:0}} .ad{{float:right}}\
</style></head>
<body class="single single-post"><div id="page"><div id="masthead" class="header"><p class="site-title">\
<a href="/">{p["site"]}</a></p>
<div class="menu"><ul>{_links(MENU[:6])}</ul></div></div>
<div id="content"><div id="primary"><div class="post hentry"><h1 class="entry-title">{p["title"]}</h1>
<div class="entry-meta">Posted by admin in <a href="/c/{p["n"]}">Stories</a></div>
<div class="entry-content">
{p["body"]}
</div><div class="entry-utility">Tags: <a href="/t/1">life</a>, <a href="/t/2">town</a></div></div>
<div id="comments"><h3>2 comments</h3><ol class="commentlist"><li>First!</li><li>Nice post, thank you for sharing.\
</li></ol></div></div>
<div id="secondary" class="widget-area"><div class="widget"><h3>Recent posts</h3><ul>{_links(p["others"])}</ul></div>
<div class="widget ad"><a href="/out">{p["ads"][0]}</a></div>
<div class="widget"><h3>Newsletter</h3><form><input name="email"><input type="submit" value="Subscribe"></form></div>\
</div></div>
<div id="footer">Proudly powered by Press. {p["site"]}.</div></div></body></html>"""


def _wiki(p):
    return f"""<!DOCTYPE html>
<html class="client-nojs" lang="en"><head>{p["head"]}</head>
<body class="skin-plain"><div id="mw-page-base"></div><div id="content" class="mw-body" role="main">
<h1 id="firstHeading" class="firstHeading">{p["title"]}</h1>
<div id="bodyContent"><div id="siteSub">From {p["site"]}, the open book of the valley</div>
<div id="jump-to-nav">Jump to: <a href="#nav">navigation</a></div>
<div id="mw-content-text"><div class="mw-parser-output">
{p["body"]}
<div class="navbox" role="navigation"><ul>{_links(p["others"])}</ul></div></div></div>
<div id="catlinks" class="catlinks">Categories: <a href="/c1">People</a> <a href="/c2">Towns</a></div></div></div>
<div id="mw-navigation"><h2>Navigation menu</h2><div id="p-personal"><ul><li>Not logged in</li><li>\
<a href="/talk">Talk</a></li></ul></div>
<div id="p-navigation" class="portal"><ul>{_links(MENU[:7])}</ul></div></div>
<div id="footer" role="contentinfo"><ul><li>This page was last edited by a visitor.</li>
<li><a href="/about">About {p["site"]}</a></li></ul></div></body></html>"""


def _homepage(p):
    return f"""<HTML><HEAD>{p["head"]}</HEAD><BODY BGCOLOR="#FFFFFF" TEXT="#000000">
<TABLE WIDTH="100%" BORDER=0><TR><TD><IMG SRC="/logo.gif"></TD>
<TD><CENTER><FONT SIZE=5><B>Welcome to {p["site"]}</B></FONT></CENTER></TD></TR></TABLE>
<UL>{_links(MENU[:8])}</UL><IMG SRC="/counter{p["n"]}.gif"><HR>
<H1>{p["title"]}</H1>
{p["body"]}
<HR><CENTER><FONT SIZE=1><A HREF="/">Home</A> | <A HREF="/guestbook">Guestbook</A> |
Best viewed at 800 x 600</FONT></CENTER></BODY></HTML>"""


def _community(p):
    return f"""<!DOCTYPE html>
<html lang="en"><head>{p["head"]}<script type="application/json">{{"page":{p["n"]},"user":null}}</script></head>
<body><nav class="navbar"><a class="brand" href="/">{p["site"]}</a><div class="nav-links">{_links(MENU[:5], "span")}\
</div></nav>
<div class="breadcrumbs"><a href="/">Home</a> &raquo; <a href="/all">All pages</a></div>
<section class="hero ad-slot"><p>{p["ads"][0]}</p></section>
<div class="container"><div class="content main-content"><h2 class="page-title">{p["title"]}</h2>
<div class="text">
{p["body"]}
</div></div><div class="related"><h4>You may also like</h4>{_links(p["others"], "div")}</div></div>
<div class="popup newsletter-modal"><p>Subscribe to our newsletter and never miss a story.</p><button>No thanks\
</button></div>
<footer><div class="columns">{_links(MENU, "div")}</div><small>{p["site"]}: terms, imprint, {p["ads"][1]}</small>\
</footer></body></html>"""


HOSTS = (
    ("www.valley-gazette.example", "Valley Gazette", _newspaper),
    ("news.hillside-post.example", "Hillside Post", _newspaper),
    ("kettle-and-spoon.example", "Kettle and Spoon", _blog),
    ("blog.quietlane.example", "Quiet Lane", _blog),
    ("wiki.valleybook.example", "Valleybook", _wiki),
    ("home.oldmill.example", "Old Mill Pages", _homepage),
    ("www.townsquare.example", "Town Square", _community),
    ("people.riverside.example", "Riverside People", _community),
)


SITES = {host: (site, layout) for host, site, layout in HOSTS}


def _body(rng: random.Random, page: Page) -> str:
    parts = []
    for paragraph in page.paragraphs:
        text = html.escape(paragraph, quote=False)
        if rng.random() < 0.3:  # a link or an emphasis inside the prose
            words = text.split(" ")
            at = rng.randrange(len(words))
            if re.fullmatch(r"\w+", words[at]):
                words[at] = rng.choice(
                    (f'<a href="/see/{at}">{words[at]}</a>', f"<em>{words[at]}</em>", f"<b>{words[at]}</b>")
                )
            text = " ".join(words)
        parts.append(f"<p>{text}" if page.broken else f"<p>{text}</p>")
    return "\n".join(parts)


def render(rng: random.Random, page: Page, titles: list[str]) -> bytes:
    """The page as its host serves it."""
    others = rng.sample(titles, min(6, len(titles)))
    ads = rng.sample(ADS, 2)
    number = rng.randint(1000, 9999)
    if page.body.startswith("<!DOCTYPE"):
        return page.body.encode()
    site, layout = SITES.get(page.host, ("Best Games", _blog))
    body = page.body or _body(rng, page)
    title = html.escape(page.title)
    head = f'<meta charset="utf-8"><title>{title} - {site}</title>'
    text = layout(
        {"head": head, "title": title, "body": body, "site": site, "others": others, "ads": ads, "n": number}
    )
    if page.broken:
        text = _broken(text)
    return text.encode(page.encoding, errors="xmlcharrefreplace")


def _broken(text: str) -> str:
    """As people write it by hand: paragraphs and list items never closed, stray end tags, the page's end missing."""
    text = text.replace("</li>", "").replace("</LI>", "").replace("</em>", "</i>")
    text = text.replace("<div class=", "<div  class=", 1)
    return text.replace("</body>", "").replace("</html>", "").replace("</h1>", "</h1></font>")
