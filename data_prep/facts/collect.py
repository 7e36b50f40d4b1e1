"""Facts out of well-kept packages, as the file that ships with a recipe.

    pip install -e ".[facts]"
    python -m data_prep.facts.collect --output recipes/smollm2-135m/facts/facts.jsonl

A row has `relation`, `subject` and `answer` (a list of aliases). Capitals and continents are of countryinfo (MIT),
currencies and languages of babel (BSD-3-Clause; the data are Unicode's CLDR, Unicode-3.0 licence), elements of
mendeleev (MIT). A country is taken under the English name that babel gives it.
"""

import importlib.util
import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, output_folder, parse, write_jsonl

CONTINENTS = {"Africa", "Asia", "Europe", "Oceania", "Americas"}
AMERICA = {"South America": ["South America"], "Northern America": ["North America"]}


@dataclass
class CollectArguments:
    output: str = field(metadata={"help": "JSON lines to write"})


def folder_of(package: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises:
        UserError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise UserError(f"the package {package} is not installed: pip install -e '.[facts]'")
    return Path(spec.submodule_search_locations[0])


def countries() -> list[dict]:
    """Every country of countryinfo that has an ISO code, by that code."""
    files = sorted((folder_of("countryinfo") / "data").glob("*.json"))
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    by_code = {row["ISO"]["alpha2"]: row for row in rows if row.get("ISO", {}).get("alpha2")}
    return [by_code[code] for code in sorted(by_code)]


def continent(row: dict) -> list[str]:
    if row.get("region") != "Americas":
        return [row["region"]] if row.get("region") in CONTINENTS else []
    return AMERICA.get(row.get("subregion"), ["North America", "Central America", "Caribbean"])


def of_country(row: dict) -> list[dict]:
    """The facts of a country: capital, continent, currency, language; each where the package has it."""
    from babel import Locale
    from babel.languages import get_official_languages
    from babel.numbers import get_currency_name, get_territory_currencies

    code, english = row["ISO"]["alpha2"], Locale("en")
    name = english.territories.get(code)
    if not name:
        return []
    currencies = [get_currency_name(currency, locale="en") for currency in get_territory_currencies(code)]
    languages = [english.languages.get(language) for language in get_official_languages(code)]
    found = {
        "capital": [row["capital"]] if row.get("capital") else [],
        "continent": continent(row),
        "currency": [alias for currency in currencies for alias in (currency, currency.split()[-1])],
        "language": [language for language in languages if language],
    }
    found = {relation: list(dict.fromkeys(answer)) for relation, answer in found.items() if answer}
    return [
        {"relation": relation, "subject": name, "answer": answer}
        for relation, answer in found.items()
        if answer != [name]
    ]


def elements() -> list[dict]:
    """Symbol and atomic number of each element."""
    with sqlite3.connect(folder_of("mendeleev") / "elements.db") as base:
        rows = base.execute("select name, symbol, atomic_number from elements order by atomic_number").fetchall()
    symbols = [{"relation": "symbol", "subject": name.lower(), "answer": [symbol]} for name, symbol, _ in rows]
    numbers = [{"relation": "number", "subject": name.lower(), "answer": [str(number)]} for name, _, number in rows]
    return symbols + numbers


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((CollectArguments,), argv)
    path = output_folder(Path(args.output).parent) / Path(args.output).name
    rows = [fact for row in countries() for fact in of_country(row)] + elements()
    rows.sort(key=lambda row: (row["relation"], row["subject"]))
    write_jsonl(path, rows)
    print(f"{path}: {len(rows)} facts")


if __name__ == "__main__":
    main()
