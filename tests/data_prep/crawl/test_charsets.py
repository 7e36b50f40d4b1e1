"""Pages in every charset: what is declared is believed where it is valid, and a broken byte costs one character."""

import io

import pytest

from data_prep.crawl.warc import TolerantWarcReader, decode

GERMAN = "<p>Der Bäcker öffnet um fünf, und süße Brötchen kosten wenig.</p>"
PAGES = [  # text, how it is encoded, the header's charset, the page's own
    (GERMAN, "utf-8", "utf-8", None),
    (GERMAN, "utf-8", "iso-8859-1", None),  # UTF-8 that is valid is UTF-8
    (GERMAN, "cp1252", "ISO-8859-1", None),
    (GERMAN + "5 € “so”", "cp1252", "iso-8859-1", None),  # as browsers read that name
    (GERMAN, "cp1252", None, "windows-1252"),
    (GERMAN, "iso-8859-15", None, "iso-8859-15"),
    ("<p>Привет, это страница о городе и море.</p>", "cp1251", "windows-1251", None),
    ("<p>Привет, это страница о городе и море.</p>", "koi8-r", None, "koi8-r"),
    ("<p>日本語のページです。</p>", "shift_jis", "Shift_JIS", None),
    ("<p>日本語のページです。</p>", "euc_jp", None, "x-euc-jp"),
    ("<p>这是一个网页。</p>", "gb18030", "gb2312", None),
    ("<p>한국어 페이지입니다.</p>", "cp949", None, "ks_c_5601-1987"),
    ("<p>Zażółć gęślą jaźń.</p>", "iso-8859-2", "iso-8859-2", None),
    ("<p>Café</p>", "utf-16", None, None),
    ("<p>Café</p>", "utf-8-sig", "iso-8859-1", None),
    ("<p>日本語のページです。</p>", "iso2022_jp", "ISO-2022-JP", None),
    ("<p>日本語のページです。</p>", "iso2022_jp", None, "iso-2022-jp"),
    ("<p>日本語のページです。</p>", "iso2022_jp", None, None),
    (GERMAN, "utf-16-le", "utf-16le", None),
    (GERMAN, "utf-16-be", None, None),
    (GERMAN, "utf-32", None, None),
]


@pytest.mark.parametrize("text, encoding, header, meta", PAGES)
def test_what_is_declared_is_read(text, encoding, header, meta):
    page = (f"<meta http-equiv=Content-Type content='text/html; charset={meta}'>" if meta else "") + text
    header = f'text/html; charset="{header}"' if header else "text/html"
    assert decode(page.encode(encoding), header) == (page, 0)


@pytest.mark.parametrize("header", ["text/html; charset=utf-8", "text/html", "text/html; charset=no-such"])
def test_a_stray_byte_costs_one_character(header):
    good = (GERMAN * 3).encode()
    at = good.index(b"kosten")
    text, broken = decode(good[:at] + b"\xe9 " + good[at:], header)
    assert broken == 1 and text.replace("\ufffd ", "") == GERMAN * 3


@pytest.mark.parametrize("cut", [1, 2])
def test_a_character_that_was_cut_off_costs_itself(cut):
    text, broken = decode((GERMAN + "€").encode()[:-cut], "text/html")
    assert (text, broken) == (GERMAN + "\ufffd", 1)


def test_a_page_that_names_the_wrong_charset_is_read_as_what_it_is():
    assert decode(GERMAN.encode("cp1252"), "text/html; charset=utf-8") == (GERMAN, 0)


def test_what_is_no_text_at_all_has_no_charset():
    import random

    assert decode(random.Random(0).randbytes(4000), "text/html; charset=utf-8") is None


def test_broken_bytes_are_counted(tmp_path):
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    class Lost(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, document, *_):
            self.append(document)

    page = (GERMAN * 2).encode().replace(b"kosten", b"\xff\xffkosten", 1)
    with open(tmp_path / "0.warc.gz", "wb") as file:
        writer = WARCWriter(file, gzip=True)
        head = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
        payload = io.BytesIO(page)
        record = writer.create_warc_record("http://a.example/", "response", payload=payload, http_headers=head)
        writer.write_record(record)
    reader = TolerantWarcReader(str(tmp_path), Lost())
    (document,) = reader.run()
    assert document.text == (GERMAN * 2).replace("kosten", "\ufffd\ufffdkosten", 1) and not reader.lost_writer
    assert reader.stats.stats["broken_bytes"].total == 2 and reader.stats.stats["pages_with_broken_bytes"].total == 1


def test_stop_words_are_those_of_the_languages():
    from data_prep.crawl.filters import STOP_WORDS, stop_words

    assert stop_words(["en"]) == "the be to of and that have with".split()
    assert set(stop_words(["en", "de"])) == {*STOP_WORDS["en"].split(), *STOP_WORDS["de"].split()}
    assert all(len(set(words.split())) == 8 for words in STOP_WORDS.values()) and stop_words(["de", "xx"]) is None


def test_a_clean_german_page_passes_the_quality_filter(tmp_path):
    from datatrove.data import Document
    from datatrove.pipeline.writers import JsonlWriter

    from data_prep.web import arguments, page_steps

    argv = ["--input_dir", str(tmp_path), "--output_dir", str(tmp_path), "--languages"]
    text = "Der alte Hafen liegt am Rand der Stadt, und die Fischer fahren noch immer jeden Morgen hinaus. " * 8
    for languages, kept in (("de", True), ("en", False)):
        quality = page_steps(arguments([*argv, languages]), tmp_path)["quality"]
        assert isinstance(quality.exclusion_writer, JsonlWriter)
        assert (quality.filter(Document(text=text, id="1")) is True) == kept


def test_a_language_without_stop_words_is_one_line(tmp_path, capsys):
    from data_prep.web import main

    (tmp_path / "0.warc.gz").touch()
    with pytest.raises(SystemExit) as exit_:
        main(["--input_dir", str(tmp_path), "--output_dir", str(tmp_path / "out"), "--languages", "xx"])
    assert exit_.value.code == 2 and "no stop words of xx" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
