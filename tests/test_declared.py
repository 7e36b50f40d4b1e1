"""What the packages and the tests import is declared in pyproject.toml, and pinned in constraints.txt."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# IPython is there in a notebook, gguf where `make smol` was run, verifiers with its extra, vllm needs a GPU and
# sandlock a kernel, so they need not be installed; Monty's module is in a part of pydantic-monty
OTHERS = {
    "IPython": "ipython",
    "gguf": "gguf",
    "verifiers": "verifiers",
    "vllm": "vllm",
    "sandlock": "sandlock",
    "pydantic_monty": "pydantic-monty",
}


def canonical(requirement: str) -> str:
    """The name in a requirement, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(node.module.split(".")[0])
    return modules - set(sys.stdlib_module_names)


@pytest.mark.parametrize("folder", ["eval", "data_prep", "recipes", "docs", "tests"])
def test_what_is_imported_is_declared(folder):
    declared = {canonical(requirement) for requirement in PROJECT["dependencies"]}
    for name, requirements in EXTRAS.items():
        if name != "test" or folder in ("tests", "docs"):
            declared |= {canonical(requirement) for requirement in requirements}
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]
    own = {"eval", "data_prep", "recipes", *(path.stem for path in files)}
    distributions = packages_distributions()
    for path in sorted((ROOT / folder).rglob("*.py")):
        for module in imported(path) - own:
            names = [OTHERS[module]] if module in OTHERS else distributions[module]
            assert declared & set(map(canonical, names)), f"{path} imports {module}: declare one of {names}"


def test_what_is_declared_for_the_tests_is_pinned():
    pinned = {canonical(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"}
    wanted = [*PROJECT["dependencies"], *(r for name in ("test", "label", "ray", "sandbox") for r in EXTRAS[name])]
    for requirement in wanted:
        name = canonical(requirement)
        assert name in pinned | {"tumbler-recipes"}, f"{name} is not in constraints.txt"
