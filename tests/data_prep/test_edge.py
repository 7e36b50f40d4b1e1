"""What a model's hidden states tell of what it knows, fitted to questions for training and judged on the exam's."""

import json

import numpy as np
import pytest

from data_prep.facts import edge


def arguments(**more) -> edge.EdgeArguments:
    return edge.EdgeArguments("m", "probes", "invented", "exam", "out.json", **more)


def states(gap: float) -> dict:
    """Known questions lie `gap` standard deviations from the others, along every axis."""
    rng = np.random.default_rng(0)
    kinds = {"known": gap, "others": 0, "exam known": gap, "exam unknown": 0, "exam invented": -gap}
    return {kind: rng.normal(middle, 1, (100, 4)) for kind, middle in kinds.items()}


def test_what_lies_apart_is_refused_at_no_cost():
    found = edge.judged(states(4), arguments())
    assert found["auc"]["value"] > 0.99 and found["refused"]["known"]["value"] == pytest.approx(0.1)
    assert found["refused"]["unknown"]["value"] > 0.99 and found["refused"]["invented"]["n"] == 100


def test_where_nothing_tells_them_apart_as_much_is_refused_of_each():
    found = edge.judged(states(0), arguments(cost=0.3))
    assert 0.35 < found["auc"]["value"] < 0.65
    assert found["refused"]["known"]["value"] == pytest.approx(0.3)
    assert 0.15 < found["refused"]["unknown"]["value"] < 0.45


@pytest.fixture
def files(tmp_path):
    (tmp_path / "exam").mkdir()

    def write(name: str, rows: list[dict]) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    asked = [f"Who is {first} {last}?" for first in ("Ann", "Bo", "Cy") for last in ("Ash", "Birch", "Cole", "Dunn")]
    for name in edge.EXAM:
        write(f"exam/{name}.jsonl", [{"question": question} for question in asked])
    verdicts = ["knows", "does not know", "unsure"]
    probes = [{"question": question, "verdict": verdicts[place % 3]} for place, question in enumerate(asked)]
    invented = [{"messages": [{"role": "user", "content": "Who is Di Elm?"}]}] * 2
    return {
        "probes": write("probes.jsonl", probes),
        "invented": write("made_up.jsonl", invented),
        "exam_dir": str(tmp_path / "exam"),
        "output": str(tmp_path / "found" / "edge.json"),
    }


def argv(files: dict, *more: str) -> list[str]:
    return [word for key, value in files.items() for word in (f"--{key}", value)] + list(more)


def test_the_command(files, chat_model, capsys):
    edge.main(argv(files, "--model", str(chat_model), "--batch_size", "5"))
    with open(files["output"]) as file:
        found = json.load(file)
    assert [row["layer"] for row in found["layers"]] == [1, 2]
    assert "others: 6 questions read" in capsys.readouterr().out
    # the exam's three files are one: as much of each is refused
    assert len({row["refused"][name]["value"] for row in found["layers"][:1] for name in edge.EXAM}) == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [(["--cost", "1"], "cost must be between 0 and 1"), (["--probes", "nowhere.jsonl"], "nowhere.jsonl")],
)
def test_bad_input_is_one_line(files, chat_model, capsys, more, says):
    with pytest.raises(SystemExit) as ended:
        edge.main(argv(files, "--model", str(chat_model), *more))
    assert ended.value.code == 2 and says in capsys.readouterr().err
