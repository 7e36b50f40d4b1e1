"""What a model sees, draws and hears of combinations that it was never shown, counted.

    python -m eval.senses --model runs/tiny/experiments/senses --data_dir runs/tiny/experiments/senses_data \
        --output runs/tiny/experiments/senses.json

`data_dir` is a folder of `data_prep.senses`: its codebooks, and pictures and sounds of held-out combinations. The
model (a base model) reads codes between their marks and goes on, or reads a caption and goes on with codes:

    captions    the greedy caption of a picture is exactly its own
    melodies    the greedy name of a melody, which the model first hums, is exactly its own
    rules       a sampled drawing shows what its caption says, read by the rules that pictures are drawn by
    captioner   the model's own greedy caption of that drawing is the one that it was drawn for
    codes       a picture is still read rightly by the rules once it is codes: the most that drawings can reach

each with its standard error over combinations: n counts those, of each of which several pictures, sounds or drawings
were tried (`tries`). A drawing that is not 16 codes between their marks is not right.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eval.cli import UserError, command, output_file, parse, write_json
from eval.estimates import accuracy
from eval.senses.codes import BEGIN, leading, load, load_arrays, to_tokens
from eval.senses.pictures import PATCHES, patches, picture_of, read
from eval.senses.sounds import RATE, SLICES, slices, spectrogram, waveform_of

EXAMPLES = 6
NAME_TOKENS = 24  # at most of a caption or a name


@dataclass
class SensesArguments:
    model: str = field(metadata={"help": "folder (or Hub id) of the model"})
    data_dir: str = field(metadata={"help": "folder that data_prep.senses wrote"})
    output: str = field(metadata={"help": ".json file to write"})
    drawings: int = field(default=4, metadata={"help": "drawings of each caption"})
    temperature: float = field(default=0.7, metadata={"help": "of drawing; 0 is greedy"})
    begin: str = field(default=BEGIN, metadata={"help": "token that documents begin with"})
    seed: int = field(default=0, metadata={"help": "of drawing"})


class Perceiver:
    """A model with the tokens that its documents are made of."""

    def __init__(self, args: SensesArguments):
        from eval.generation.models import load_models

        self.args = args
        self.model, self.tokenizer = load_models({"model": args.model})["model"]
        if args.begin not in self.tokenizer.get_vocab():
            raise UserError(f"the tokenizer of {args.model} has no token {args.begin}: give another with --begin")
        self.begin = self.tokenizer.convert_tokens_to_ids(args.begin)

    def captions(self, pictures: list[list[int]]) -> list[str]:
        """What the model says behind the codes of each picture."""
        prompts = [[self.begin, *to_tokens(self.tokenizer, "picture", codes)] for codes in pictures]
        return [reply.text for (reply,) in self._continue(prompts, NAME_TOKENS, temperature=0)]

    def songs(self, sounds: list[list[int]]) -> list[tuple[list[int], str]]:
        """The codes of what the model hums behind those of each sound, [] where that is no hum, and what it says."""
        prompts = [[self.begin, *to_tokens(self.tokenizer, "sound", codes)] for codes in sounds]
        heard = []
        for (reply,) in self._continue(prompts, SLICES + 2 + NAME_TOKENS, temperature=0):
            hummed = leading(self.tokenizer, "sound", reply.token_ids, SLICES)
            said = reply.token_ids[SLICES + 2 :] if hummed else reply.token_ids
            heard.append((hummed, self.tokenizer.decode(said, skip_special_tokens=True)))
        return heard

    def drawings(self, captions: list[str]) -> list[list[list[int]]]:
        """The codes of the pictures that it draws for each caption; [] for what is no picture."""
        from eval.generation.encoding import encode_plain

        prompts = [[self.begin, *encode_plain(self.tokenizer, caption)] for caption in captions]
        options = {"temperature": self.args.temperature, "num_return_sequences": self.args.drawings}
        drawn = []
        for replies in self._continue(prompts, PATCHES + 3, seed=self.args.seed, **options):
            drawn.append([leading(self.tokenizer, "picture", reply.token_ids, PATCHES) for reply in replies])
        return drawn

    def _continue(self, prompts: list[list[int]], most: int, **options) -> list:
        from eval.generation.generate import generate

        return generate(self.model, self.tokenizer, prompts, max_new_tokens=most, **options)


def by_combination(hits: list[bool], combinations: list[str]) -> dict:
    """The share of hits with its error over combinations, and how many tries there were in all."""
    groups: dict[str, list[bool]] = {}
    for hit, combination in zip(hits, combinations):
        groups.setdefault(combination, []).append(hit)
    return {**accuracy([sum(group) / len(group) for group in groups.values()]), "tries": len(hits)}


def see(perceiver: Perceiver, book, pictures: np.ndarray, captions: list[str]) -> dict:
    """The figures `captions` and `codes`, and examples: pictures with their codes and what was said."""
    coded = [book.encode(patches(picture)) for picture in pictures]
    decoded = [picture_of(book.decode(codes)) for codes in coded]
    said = perceiver.captions(coded)
    examples = []
    for place in spread(len(set(captions))):
        picture = {"original": pictures[place].tolist(), "codes": coded[place], "decoded": decoded[place].tolist()}
        examples.append({"caption": captions[place], "said": said[place], **picture})
    return {
        "captions": by_combination([a == b for a, b in zip(said, captions)], captions),
        "codes": by_combination([read(picture) == name for picture, name in zip(decoded, captions)], captions),
        "pictures": examples,
    }


def draw(perceiver: Perceiver, book, captions: list[str]) -> dict:
    """The figures `rules` and `captioner`, and examples: captions with the first picture that was drawn."""
    asked, drawn = [], []
    for caption, tries in zip(captions, perceiver.drawings(captions)):
        asked += [caption] * len(tries)
        drawn += tries
    shown = [picture_of(book.decode(codes)) if codes else None for codes in drawn]
    seen = [None if picture is None else read(picture) for picture in shown]
    whole = [place for place, codes in enumerate(drawn) if codes]
    said = dict(zip(whole, perceiver.captions([drawn[place] for place in whole]))) if whole else {}
    examples = []
    for place in spread(len(captions)):
        first = place * len(drawn) // len(captions)
        picture = None if shown[first] is None else shown[first].tolist()
        told = {"caption": asked[first], "read": seen[first], "said": said.get(first)}
        examples.append({**told, "codes": drawn[first], "decoded": picture})
    return {
        "rules": by_combination([a == b for a, b in zip(seen, asked)], asked),
        "captioner": by_combination([said.get(place) == name for place, name in enumerate(asked)], asked),
        "drawings": examples,
    }


def hear(perceiver: Perceiver, book, sounds: np.ndarray, melodies: list[str], played: list[str]) -> dict:
    """The figure `melodies`, and examples: what was played, its codes and what the model hums, to hear and to see."""
    coded = [book.encode(slices(sound.astype(np.float32))) for sound in sounds]
    sung = perceiver.songs(coded)
    said = [name for _, name in sung]
    examples = []
    for place in spread(len(set(played)))[:2]:
        heard = {"played": (sounds[place], slices(sounds[place].astype(np.float32)))}
        for key, codes in (("codes", coded[place]), ("hummed", sung[place][0])):
            if codes:
                heard[key] = (waveform_of(book.decode(codes)), book.decode(codes))
        parts = {key: {"wave": rounded(wave), "seen": spectrogram(pieces)} for key, (wave, pieces) in heard.items()}
        told = {"melody": melodies[place], "combination": played[place], "said": said[place]}
        examples.append({**told, "codes": coded[place], "parts": parts})
    return {
        "melodies": by_combination([a == b for a, b in zip(said, melodies)], played),
        "sounds": examples,
    }


def rounded(wave: np.ndarray) -> list[float]:
    return [round(float(sample), 3) for sample in wave]


def spread(count: int) -> list[int]:
    """The places of examples: evenly over the first of each combination, which stand in front."""
    return list(range(0, count, -(-count // EXAMPLES)))


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((SensesArguments,), argv)
    if args.drawings < 1 or args.temperature < 0:
        raise UserError("drawings must be at least 1, and temperature not negative")
    books = load(args.data_dir)
    names = ("pictures", "captions", "sounds", "melodies", "played")
    test = load_arrays(Path(args.data_dir) / "test.npz", names)
    captions, melodies, played = (test[name].tolist() for name in ("captions", "melodies", "played"))
    output_file(args.output, [args.model, args.data_dir])
    perceiver = Perceiver(args)
    results = {"model": args.model, "temperature": args.temperature, "seed": args.seed, "rate": RATE}
    results |= see(perceiver, books["picture"], test["pictures"], captions)
    asked = list(dict.fromkeys(captions))
    results |= draw(perceiver, books["picture"], asked)
    results |= hear(perceiver, books["sound"], test["sounds"], melodies, played)
    for key in ("captions", "rules", "captioner", "melodies", "codes"):
        figure = results[key]
        print(f"{key}: {figure['value']:.3f} (n = {figure['n']} combinations, {figure['tries']} tries)")
    write_json(args.output, results, indent=None)


if __name__ == "__main__":
    main()
