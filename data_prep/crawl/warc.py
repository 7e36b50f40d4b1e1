"""Read WARC files, so that what is broken in them costs one record."""

import codecs
import io
import re
import zlib
from collections.abc import Iterator

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import JsonlWriter

from data_prep.shared.progress import Progress

GZIP_HEADER = b"\x1f\x8b\x08"
CHUNK = 1 << 16
BROKEN = (
    0.1  # share of a text's characters from which on it is none of the charset that it names: compressed, or a picture
)
ZEROS = 0.2  # share of the zeros among every second byte from which on a page is UTF-16
CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([\w.:-]+)",
    re.IGNORECASE,
)
BROWSERS = {  # what a name means to browsers, by Python's own names and others
    "ascii": "cp1252", "iso8859-1": "cp1252", "latin-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030",
    "shift_jis": "cp932", "euc_kr": "cp949", "x-sjis": "cp932", "x-gbk": "gb18030", "x-euc-jp": "euc_jp",
    "ks_c_5601-1987": "cp949", "big5": "big5hkscs",
    "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8", "x-cp1252": "cp1252", "x-cp1251": "cp1251",
    "utf8mb4": "utf-8",
}  # fmt: skip


def gzip_members(file: io.BufferedIOBase) -> Iterator[tuple[int, bytes, str | None]]:
    """Yield (offset, content, error) of each gzip member; error is null, "truncated" or "corrupt".

    After a broken member, which gives what could be read of it, reading goes on at the next gzip header.
    """
    rest, offset, searching = b"", 0, False
    while True:
        inflate, raw, content, error = zlib.decompressobj(wbits=31), [], [], None
        while not inflate.eof:
            chunk, rest = rest or file.read(CHUNK), b""
            if not chunk:
                if not raw:
                    return
                error = "truncated"
                break
            raw.append(chunk)
            try:
                content.append(inflate.decompress(chunk))
            except zlib.error:
                error = "corrupt"
                break
        if content or not searching:  # else the header was not one
            yield offset, b"".join(content), error
        searching = error is not None
        if not error:
            rest = inflate.unused_data
            offset += sum(map(len, raw)) - len(rest)
            continue
        rest = b"".join(raw)
        at = rest.find(GZIP_HEADER, 1)
        while at < 0:
            offset += max(0, len(rest) - 2)
            chunk = file.read(CHUNK)
            if not chunk:
                return
            rest = rest[-2:] + chunk
            at = rest.find(GZIP_HEADER, 1)
        offset, rest = offset + at, rest[at:]


def declared(content: bytes, header: str) -> str | None:
    """The charset that the HTTP header or the page itself names, as browsers take the name
    (encoding.spec.whatwg.org); None where none that is known."""
    named = re.search(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", header, re.IGNORECASE) or CHARSET.search(content[:4096])
    if not named:
        return None
    name = next(filter(None, named.groups()))
    name = name.decode("ascii") if isinstance(name, bytes) else name
    try:
        name = codecs.lookup(name).name
    except LookupError:
        return BROWSERS.get(name.lower())
    return BROWSERS.get(name, name)


def decode(content: bytes, header: str) -> tuple[str, int] | None:
    """(The text, how many places in it could not be read and became U+FFFD) of a page; None where its charset cannot
    be told.

    What a mark at its beginning says, or zeros and escapes; UTF-8 where it is valid, or valid but for the last
    character, which a crawl cut off; then the charset that is declared, where it is valid; then UTF-8 again where more
    of its characters are whole than broken (a stray byte makes no other charset of a page); then what cchardet finds.
    """
    import cchardet

    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return _replaced(content, "utf-32")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _replaced(content, "utf-16")
    unmarked = wide(content) or escaped(content)
    if unmarked:
        return _replaced(content, unmarked)
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8"), 0
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and error.end == len(content):
            return content[: error.start].decode("utf-8") + "\ufffd", 1
    name = declared(content, header)
    text, broken = _replaced(content, "utf-8")
    whole = sum(character > "\x7f" for character in text) - broken
    if whole > broken:
        return text, broken
    for charset in (name, cchardet.detect(content)["encoding"]):
        try:
            if charset and codecs.lookup(charset).name != "utf-8":
                return content.decode(charset), 0
        except (UnicodeDecodeError, LookupError):
            continue
    text, broken = _replaced(content, name or "utf-8")
    return (text, broken) if name and broken < BROKEN * len(text) else None


def wide(content: bytes) -> str | None:
    """UTF-16 without a mark at its beginning, by the zeros that each letter of its tags has; None where it is not."""
    first, second = content[:1000:2].count(0), content[1:1000:2].count(0)
    letters = min(len(content), 1000) / 2
    if max(first, second) < ZEROS * letters or min(first, second) > 0:
        return None
    return "utf-16-le" if second else "utf-16-be"


def escaped(content: bytes) -> str | None:
    """ISO-2022-JP, which is ASCII with escapes, and so would be valid as UTF-8; None where it is not."""
    return "iso2022_jp_ext" if re.search(rb"\x1b\$[@B][^\x1b]+\x1b\([BJ]", content) else None


def _replaced(content: bytes, charset: str) -> tuple[str, int]:
    text = content.decode(charset, "replace")
    return text, text.count("\ufffd")


class TolerantWarcReader(WarcReader):
    """datatrove's reader, but what is broken costs one record, is counted and kept with the reason.

    Of the charset see `decode`. Files are gzipped record by record, as crawls are.
    """

    name = "WARC"

    def __init__(self, data_folder: str, lost_writer: JsonlWriter):
        super().__init__(data_folder, compression=None, glob_pattern="**/*.warc.gz")
        self.lost_writer = lost_writer

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        self.rank = rank
        self.progress = Progress(f"[web] task {rank}")
        self.bytes_before = self.bytes_total = 0
        for path in self.data_folder.get_shard(rank, world_size, recursive=True, glob_pattern=self.glob_pattern):
            self.bytes_total += self.data_folder.size(path)
        with self.lost_writer:
            yield from super().run(data, rank, world_size)

    def read_file(self, filepath: str) -> DocumentsPipeline:
        from warcio.archiveiterator import ArchiveIterator

        with self.data_folder.open(filepath, "rb") as file:
            for offset, content, error in gzip_members(file):
                where = f"{filepath}:{offset}"
                if error:
                    self._lose(
                        f"{error}_member", where, re.search(rb"^WARC-Target-URI: *(\S+)", content, re.MULTILINE)
                    )
                    continue
                document, url = None, None
                try:
                    for record in ArchiveIterator(io.BytesIO(content)):
                        if record.rec_type != "response":
                            continue
                        url = record.rec_headers.get_header("WARC-Target-URI")
                        with self.track_time():
                            document = self._document(record, url, filepath, where)
                        if document:
                            yield document
                except Exception as problem:  # whatever a record may hold, the crawl goes on
                    self._lose("broken_record", where, url, repr(problem))
                self._report(offset)
            self.bytes_before += file.tell()

    def _document(self, record, url: str | None, filepath: str, where: str) -> Document | None:
        """The record as a document whose text is HTML; None if it is lost."""
        media_type = record.rec_headers.get_header("WARC-Identified-Payload-Type") or record.http_headers.get_header(
            "Content-Type", ""
        )
        if media_type.split(";")[0].strip().lower() not in ("text/html", "application/xhtml+xml"):
            return self._lose("not_html", where, url)
        content = record.content_stream().read()
        if not content:
            return self._lose("no_payload", where, url)
        if not url:
            return self._lose("no_url", where, url)
        header = record.http_headers.get_header("Content-Type", "") if record.http_headers else ""
        found = decode(content, header or "")
        if found is None:
            return self._lose("unknown_charset", where, url)
        text, broken = found
        if broken:
            self.stat_update("pages_with_broken_bytes")
            self.stat_update("broken_bytes", value=broken)
        fields = {"url": url, "date": record.rec_headers.get_header("WARC-Date"), "file_path": filepath}
        fields |= {"text": text, "id": record.rec_headers.get_header("WARC-Record-ID") or where}
        return self.get_document_from_dict(fields, filepath, where)

    def _lose(self, reason: str, where: str, url: str | re.Match | None, detail: str = "") -> None:
        self.stat_update("dropped", f"dropped_{reason}")
        url = url[1].decode(errors="replace") if isinstance(url, re.Match) else url or ""
        self.lost_writer.write(
            Document(text="", id=where, metadata={"url": url, "filter_reason": reason, "detail": detail}), self.rank
        )

    def _report(self, offset: int) -> None:
        done = self.bytes_before + offset
        self.progress(done >> 20, "MiB read", done / self.bytes_total)
