r"""What a token stands for: its bytes, and a text of them that can be seen on a page.

token_bytes(tokenizer, [464, 220])     ->  [b"The", b" "]
visible(b" the\n")                     ->  "·the↵"
"""

import re
import unicodedata


def token_bytes(tokenizer, ids: list[int]) -> list[bytes]:
    """The bytes that each token stands for, in byte-level BPE, SentencePiece or WordPiece."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    byte_level = "ByteLevel" in repr(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", ""))
    added = tokenizer.added_tokens_decoder
    out = []
    for i, token in zip(ids, tokenizer.convert_ids_to_tokens(ids)):
        if i not in added and byte_level and all(char in byte_of for char in token):
            out.append(bytes(byte_of[char] for char in token))
        elif i not in added and (byte := re.fullmatch("<0x([0-9A-F]{2})>", token)):
            out.append(bytes.fromhex(byte[1]))
        else:
            out.append((token if i in added else token.replace("▁", " ").removeprefix("##")).encode(errors="replace"))
    return out


def visible(raw: bytes) -> str | None:
    """The text of a token with what is not seen made visible; None where the bytes are only part of a character."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    shown = ""
    for char in text:
        if char in " \n\t":
            shown += {" ": "·", "\n": "↵", "\t": "⇥"}[char]
        elif not char.isprintable():
            shown += f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
        else:
            shown += ("◌" if not shown and unicodedata.category(char).startswith("M") else "") + char
    return shown
