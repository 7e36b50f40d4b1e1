"""What the documentation tells people to type exists and parses: commands, options, files, make targets."""

import ast
import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from conftest import PPO_IS_THERE, ROOT

READMES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data_prep/README.md")),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("recipes/*/README.md"),
    ]
)
SOURCES = sorted(p for folder in ("recipes", "data_prep", "eval") for p in (ROOT / folder).rglob("*.py"))
YAMLS = sorted(
    [*ROOT.glob("recipes/*/*.yaml"), *ROOT.glob("accelerate_configs/*.yaml"), *ROOT.glob("data_prep/*.yaml")]
)
STARTS = ("python -m ", "python docs/", "accelerate launch ", "make ", "sbatch ", "pip install ", "lm_eval run ")
MAKEFILE = (ROOT / "Makefile").read_text()


class Parsed(Exception):
    """The arguments were good; the work does not begin."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(lines: list[str]) -> list[list[str]]:
    """The commands among lines of shell, words split, continued lines joined, comments and [optional brackets]
    dropped."""
    found, text = [], ""
    for line in lines:
        text += line.strip().removeprefix(".venv/bin/").removesuffix("\\").rstrip() + " "
        if not line.rstrip().endswith("\\"):
            if text.startswith(STARTS):
                found.append(
                    shlex.split(re.sub(r"[\[\]](?=\s|-|$)|…", "", text) if ".[" not in text else text, comments=True)
                )
            text = ""
    return found


def fenced(path: Path) -> list[list[str]]:
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    return [c for block in blocks for c in commands(block.splitlines())]


def in_docstring(path: Path) -> list[list[str]]:
    return commands((ast.get_docstring(ast.parse(path.read_text())) or "").splitlines())


def in_comments(path: Path) -> list[list[str]]:
    return commands([line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#")])


def backticked(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def parse_only(module: str, argv: list[str]) -> None:
    """Let the module's own `main` read the arguments, and stop it there."""
    import eval.cli
    import recipes.planning.benchmark_pretrain
    import recipes.training.setup

    assert importlib.util.find_spec(module), f"no module {module}"
    if module == "recipes.ppo" and not PPO_IS_THERE:
        return
    if importlib.util.find_spec(module).submodule_search_locations:  # a package: python -m runs its __main__
        module += ".__main__"
    script = importlib.import_module(module)
    real = eval.cli.parse

    def parse(*args, **kwargs):
        real(*args, **kwargs)
        raise Parsed

    def stop(*_):
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        for place in (
            script,
            recipes.training.setup,
            recipes.planning.benchmark_pretrain,
        ):  # to the last recipes.benchmark hands on
            patch.setattr(place, "parse", parse, raising=False)
        patch.setattr(
            script, "output_folder", stop, raising=False
        )  # where recipes.run, which has no `parse`, begins its work
        with pytest.raises(Parsed):
            script.main(argv)


def check(command: list[str]) -> None:
    """Raises where a command of the documentation names what is not there."""
    program, *rest = command
    if program == "make":
        for word in rest:
            if "=" in word:
                assert re.search(rf"^{word.split('=')[0]} \?=", MAKEFILE, re.MULTILINE), f"make has no variable {word}"
            else:
                assert re.search(rf"^{word}:", MAKEFILE, re.MULTILINE), f"make has no target {word}"
    elif program == "python" and rest[:2] == ["-m", "pytest"]:
        files = [word for word in rest if word.startswith("tests/")]
        assert files and all((ROOT / file).is_file() for file in files), files
    elif program == "python" and rest[:2] == ["-m", "recipes.launch"]:
        check(["accelerate", "launch", *rest[2:]])
    elif program == "python" and rest[0] == "-m":
        parse_only(rest[1], rest[2:])
    elif program == "python":
        script = ROOT / rest[0]
        assert script.is_file(), script
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(script.parent)
            parse_only(script.stem, rest[1:])
    elif program == "lm_eval":
        folder = ROOT / rest[rest.index("--include_path") + 1]
        assert rest[0] == "run" and (folder / f"{rest[rest.index('--tasks') + 1]}.yaml").is_file()
    elif program == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        args = launch_command_parser().parse_args(rest[1:])
        assert rest[0] == "launch" and args.module
        assert args.config_file is None or (ROOT / args.config_file).is_file(), args.config_file
        parse_only(args.training_script, args.training_script_args)
    elif program == "sbatch":
        at = rest.index("recipes/launch.slurm")
        assert (ROOT / rest[at]).is_file() and all(word.startswith("-") for word in rest[:at])
        module, recipe, config, *options = rest[at + 1 :]
        assert (ROOT / config).is_file()
        parse_only(module, ["--config", recipe, *options])
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for word in rest:
            if named := re.fullmatch(r"\.\[(.+)\]", word):
                assert set(named[1].split(",")) <= extras.keys(), word
            if word.endswith(".txt"):
                assert (ROOT / word).is_file() or re.search(rf"^{word}:", MAKEFILE, re.MULTILINE), word
    else:
        raise AssertionError(f"{program}: teach this test to check it")


def options() -> set[str]:
    """Every option of some command."""
    import dataclasses

    from accelerate.commands.launch import launch_command_parser
    from transformers import TrainingArguments
    from trl import GRPOConfig, ModelConfig, RewardConfig, SFTConfig

    known = {option for action in launch_command_parser()._actions for option in action.option_strings}
    configs = [TrainingArguments, SFTConfig, RewardConfig, GRPOConfig, ModelConfig]
    if PPO_IS_THERE:
        configs.append(importlib.import_module("trl.experimental.ppo").PPOConfig)
    for cls in configs:
        known |= {f"--{f.name}" for f in dataclasses.fields(cls)}
    for path in SOURCES:
        known |= {
            f"--{name}"
            for name in re.findall(r"^    (\w+): .*= field\(|^    (\w+): .*field\(", path.read_text(), re.MULTILINE)
            for name in name
            if name
        }
        known |= set(re.findall(r'add_argument\(\s*"(--\w+)"', path.read_text()))
    return known | {
        "--config",
        "--help",
        "--help_all",
        "--constraint",
        "--editable",
        "--nodes",
        "--gpus-per-node",
        "--cpus-per-gpu",
        "--time",
    }


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_commands(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = fenced(path)
    lists = ("CHANGELOG.md", "data.md", "models.md")
    assert found or path.name in lists, f"{path} tells nobody what to type"
    for command in found:
        check(command)


def test_the_readme_has_the_two_commands_and_one_stage_by_hand():
    found = fenced(ROOT / "README.md")
    assert found[0] == ["make", "tiny"]
    assert found[1][:3] == ["python", "-m", "recipes.chat"]
    assert any(command[0] == "accelerate" for command in found)
    assert ["make", "test"] in fenced(ROOT / "CONTRIBUTING.md")


def test_the_readme_is_short_and_has_its_pictures():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 140
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 2
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def test_the_guides_are_reached_from_the_readme():
    text = (ROOT / "README.md").read_text()
    for guide in ROOT.glob("docs/*.md"):
        assert f"](docs/{guide.name})" in text, guide


def test_the_tree_in_the_readme_exists():
    """Each word with a slash or a suffix in the annotated tree is a path, below the folder that it stands in."""
    block = re.search(r"## Where things are\n+```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    folder = ROOT
    for line in block.splitlines():
        place = re.split(r"\s{2,}(?=[^\s])", line.strip())
        names = [word for part in place for word in part.split() if re.fullmatch(r"[\w-]+(/|\.py)", word)]
        for name in names:
            if not line.startswith(" ") or (ROOT / name).is_dir():
                folder = ROOT / name
            assert (folder / name).exists() or (ROOT / name).exists(), f"{name} in {folder}"


@pytest.mark.parametrize("path", [p for p in SOURCES if in_docstring(p)], ids=name_of)
def test_commands_of_the_scripts(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in in_docstring(path):
        check(command)


@pytest.mark.parametrize("path", [p for p in YAMLS if in_comments(p)], ids=name_of)
def test_commands_of_the_yaml_files(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in in_comments(path):
        check(command)


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_commands_and_options_in_the_text(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    known = options()
    for text in backticked(path):
        if text.startswith("python -m "):
            assert importlib.util.find_spec(text.split()[2]), text
        elif text.startswith(STARTS):
            for command in commands([text]):
                check(command)
        for option in re.findall(r"(?<!\S)--[\w-]+", text):
            assert option in known, f"{path}: no command has the option {option}"


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_files_in_the_text(path):
    """A path of the repository exists; the name of a file that a run writes stands in the code that writes it."""
    sources = "".join(p.read_text() for p in [*SOURCES, *ROOT.glob("recipes/*/*.yaml")])
    here = {p.name for p in ROOT.iterdir()}
    files = {
        p.name
        for p in ROOT.rglob("*")
        if p.is_file() and not {".git", ".venv", "runs"} & set(p.relative_to(ROOT).parts)
    }
    for text in backticked(path):
        for word in text.split():
            word = word.rstrip(".,:;")
            if "/" in word and word.split("/")[0] in here and "://" not in word and word.split("/")[0] != "runs":
                assert list(ROOT.glob(word.rstrip("/"))), f"{path} names {word}, which does not exist"
            elif re.fullmatch(r"[\w-]+(/[\w-]+)*\.(py|yaml|md|toml|txt|slurm|jinja|json|jsonl|html|ds)", word):
                name = word.split("/")[-1]
                assert name in files or name in sources or f"{{split}}.{name.split('.')[-1]}" in sources, (
                    f"{path} names {word}, which neither exists nor is written"
                )


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_links(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", sorted(ROOT.glob("accelerate_configs/*.yaml")), ids=name_of)
def test_accelerate_takes_its_configurations(path):
    import yaml
    from accelerate.commands.config.config_args import load_config_from_file

    config, text = load_config_from_file(str(path)), yaml.safe_load(path.read_text())
    assert config.distributed_type and text.get("num_processes", 1) < 8, "the command line says how many"
