"""Read WARC files, so that what is broken in them costs one record."""

import io
import re
import zlib
from collections.abc import Iterator

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import JsonlWriter

from data_prep.work import Progress

GZIP_HEADER = b"\x1f\x8b\x08"
CHUNK = 1 << 16


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
        while (at := rest.find(GZIP_HEADER, 1)) < 0:
            offset += max(0, len(rest) - 2)
            if not (chunk := file.read(CHUNK)):
                return
            rest = rest[-2:] + chunk
        offset, rest = offset + at, rest[at:]


class TolerantWarcReader(WarcReader):
    """datatrove's reader, but what is broken costs one record, is counted and kept with the reason.

    The charset is UTF-8, else what cchardet finds, as in datatrove. Files are gzipped record by record, as crawls are.
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
                    self._lose(f"{error}_member", where, re.search(rb"^WARC-Target-URI: *(\S+)", content, re.MULTILINE))
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
        import cchardet

        media_type = record.rec_headers.get_header("WARC-Identified-Payload-Type") or record.http_headers.get_header("Content-Type", "")
        if media_type.split(";")[0].strip().lower() not in ("text/html", "application/xhtml+xml"):
            return self._lose("not_html", where, url)
        content = record.content_stream().read()
        if not content:
            return self._lose("no_payload", where, url)
        if not url:
            return self._lose("no_url", where, url)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            try:
                text = content.decode(cchardet.detect(content)["encoding"] or "utf-8")
            except (UnicodeDecodeError, LookupError):
                return self._lose("unknown_charset", where, url)
        fields = {"url": url, "date": record.rec_headers.get_header("WARC-Date"), "file_path": filepath}
        fields |= {"text": text, "id": record.rec_headers.get_header("WARC-Record-ID") or where}
        return self.get_document_from_dict(fields, filepath, where)

    def _lose(self, reason: str, where: str, url: str | re.Match | None, detail: str = "") -> None:
        self.stat_update("dropped", f"dropped_{reason}")
        url = url[1].decode(errors="replace") if isinstance(url, re.Match) else url or ""
        self.lost_writer.write(Document(text="", id=where, metadata={"url": url, "filter_reason": reason, "detail": detail}), self.rank)

    def _report(self, offset: int) -> None:
        done = self.bytes_before + offset
        self.progress(done >> 20, "MiB read", done / self.bytes_total)
