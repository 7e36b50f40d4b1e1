"""What `--help` of a script shows: its docstring, its own options and those that its YAML sets. `--help_all` adds the
hundreds that come from the classes of transformers and TRL."""

import argparse
import re
import sys

from trl import TrlParser

OURS = ("recipes", "data_prep", "eval", "__main__")  # packages


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of a docstring, and tells defaults."""


def options_of(dataclass_types: tuple[type, ...]) -> tuple[set[str], list[str]]:
    """The names of our own options, and the libraries' classes whose options a script takes as well."""
    own, libraries = {"help"}, set()
    for cls in {base for dataclass_type in dataclass_types for base in dataclass_type.__mro__[:-1]}:
        package = cls.__module__.split(".")[0]
        if package in OURS:
            own |= set(vars(cls).get("__annotations__", {}))
        elif not cls.__name__.startswith("_"):
            libraries.add(f"{package}.{cls.__name__}")
    return own, sorted(libraries)


class ParserWithHelp(TrlParser):
    """`TrlParser` whose help leaves out the libraries' options, but those in `shown`, unless `show_all`."""

    def __init__(self, dataclass_types: tuple[type, ...], shown: set[str], show_all: bool):
        own, libraries = options_of(dataclass_types)
        self.shown, self.show_all = own | shown, show_all
        script = sys.modules["__main__"]
        spec = getattr(script, "__spec__", None)
        super().__init__(
            dataclass_types,
            allow_abbrev=False,
            formatter_class=Formatter,
            prog=f"python -m {spec.name}" if spec else None,
            usage="%(prog)s [--config FILE.yaml] [--key value ...], where the command line wins",
            description=re.sub(r"(?<=\S) {6,}", " ", script.__doc__ or ""),  # a command that went on in a second line
        )
        if libraries and not show_all:
            self.epilog = f"--help_all also shows the options of {', '.join(libraries)}."

    def add_argument(self, *names, **options):
        option = names[-1].lstrip("-").replace("-", "_")
        hidden = not self.show_all and option.removeprefix("no_") not in self.shown
        return super().add_argument(*names, **(options | {"help": argparse.SUPPRESS} if hidden else options))
