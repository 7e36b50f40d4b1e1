"""Seconds to train the tokenizer, beside the seconds that the `tokenizers` library takes for the same text.

    python tests/helpers/tokenizer_speed.py 100 1024 'runs/tiny/web/documents/*.jsonl.gz' \
        'runs/tiny/world/conversations/train.jsonl'

Writes the sources' texts, again and again until there are so many megabytes, as JSON lines and as plain text. Ours
reads the JSON lines; the library's trainer of the same settings reads the plain text from files, and the texts from
memory. On a busy machine seconds of the processor tell more than seconds of the clock; both are the shortest of three
times, taken in turn.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path


def write(texts: Iterable[str], megabytes: float, folder: Path) -> list[str]:
    """Write `texts.jsonl` and `texts.txt`; the texts."""
    size, kept = 0, []
    with (
        (folder / "texts.jsonl").open("w", encoding="utf-8") as rows,
        (folder / "texts.txt").open("w", encoding="utf-8") as plain,
    ):
        for text in cycle(texts):
            if size >= megabytes * 1e6:
                return kept
            rows.write(json.dumps({"id": str(len(kept)), "text": text, "metadata": {}}, ensure_ascii=False) + "\n")
            plain.write(text + "\n")
            size += len(text.encode())
            kept.append(text)
    raise ValueError("there is no text")


def library(vocab_size: int):
    """A tokenizer and a trainer with the settings of `data_prep.tokenizer`, as the library's users write them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from data_prep.tokenizer import SPECIAL_TOKENS

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return bpe, trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )


def measure(
    texts: Iterable[str], megabytes: float, vocab_size: int, repeats: int = 3
) -> dict[str, tuple[float, float]]:
    """Seconds (clock, processor) of `ours`, `files` and `memory`."""
    from data_prep import tokenizer

    with tempfile.TemporaryDirectory() as folder:
        kept = write(texts, megabytes, Path(folder))
        seconds = {"files": [], "memory": [], "ours": []}
        for _ in range(repeats):
            for name, times in seconds.items():
                bpe, trainer = library(vocab_size)
                start = time.perf_counter(), time.process_time()
                if name == "files":
                    bpe.train([f"{folder}/texts.txt"], trainer)
                elif name == "memory":
                    bpe.train_from_iterator(kept, trainer)
                else:
                    tokenizer.train(tokenizer.texts([f"{folder}/texts.jsonl"]), vocab_size).save_pretrained(
                        f"{folder}/tokenizer"
                    )
                times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {name: (min(clock for clock, _ in times), min(cpu for _, cpu in times)) for name, times in seconds.items()}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from data_prep import tokenizer

    megabytes, vocab_size, *sources = sys.argv[1:]
    seconds = measure(list(tokenizer.texts(sources)), float(megabytes), int(vocab_size))
    for i, what in enumerate(("clock", "processor")):
        times = {name: pair[i] for name, pair in seconds.items()}
        print(
            f"{megabytes} MB, {vocab_size} tokens, {what}:",
            ", ".join(f"{name} {s:.2f} s" for name, s in times.items()),
            end="; ",
        )
        print(
            f"ours / library {times['ours'] / times['files']:.2f} (files), {times['ours'] / times['memory']:.2f}"
            " (memory)"
        )
