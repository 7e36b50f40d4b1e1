"""Rankings become pairs: ties, distances, which pairs, published sets, and what is refused."""

import json
from collections import Counter

import pytest
from conftest import rows

from data_prep.preferences import main
from data_prep.shared.rankings import places
from eval.generation.replies import Replier

ASK = [{"role": "user", "content": "Which?"}]


def write(path, lines: list[dict]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def ranked(ranking, prompt: str = "Which?", **columns) -> dict:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "responses": ["a", "b", "c", "d"],
        "ranking": ranking,
        **columns,
    }


def run(*argv) -> None:
    main([str(a) for a in argv])


def said(pair: dict) -> tuple[str, str, int]:
    return pair["chosen"][0]["content"], pair["rejected"][0]["content"], pair["rank_distance"]


@pytest.mark.parametrize(
    "kind, pairs",
    [
        ("all", {("c", "a", 1), ("c", "d", 1), ("c", "b", 2), ("a", "b", 1), ("d", "b", 1)}),
        ("adjacent", {("c", "a", 1), ("c", "d", 1), ("a", "b", 1), ("d", "b", 1)}),
        ("best_worst", {("c", "b", 2)}),
    ],
)
def test_a_tie_is_no_preference(tmp_path, kind, pairs):
    file = write(
        tmp_path / "r.jsonl", [ranked([2, [0, 3], 1], split=split) for split in ("train", "validation", "test")]
    )
    run("--rankings", file, "--output_dir", tmp_path / "out", "--pairs", kind)
    found = rows(tmp_path / "out" / "train.jsonl")
    assert set(map(said, found)) == pairs and len(found) == len(pairs) and all(row["prompt"] == ASK for row in found)


def test_a_response_that_is_not_named_is_not_ranked(tmp_path):
    file = write(tmp_path / "r.jsonl", [ranked([3, 0], split=split) for split in ("train", "validation", "test")])
    run("--rankings", file, "--output_dir", tmp_path / "out")
    assert list(map(said, rows(tmp_path / "out" / "test.jsonl"))) == [("d", "a", 1)]


def test_rankings_of_one_prompt_stay_together(tmp_path):
    file = write(tmp_path / "r.jsonl", [ranked([i % 2, 1 - i % 2], prompt=f"Which, {i // 3}?") for i in range(300)])
    run("--rankings", file, "--output_dir", tmp_path / "out")
    asked = {
        split: {row["prompt"][0]["content"] for row in rows(tmp_path / "out" / f"{split}.jsonl")}
        for split in ("train", "validation", "test")
    }
    assert (
        sum(map(len, asked.values())) == 100 and not asked["train"] & asked["test"] and 65 < len(asked["train"]) < 92
    )


def test_places():
    assert places([1, [0, 2]], ["a", "b", "c"], "") == [[1], [0, 2]]


def test_real_transcripts(shared_data, tmp_path, capsys):
    """Both sides of a row share the talk up to the last reply; a person wrote the turn before it."""
    run(
        "--dataset",
        shared_data / "hh-rlhf" / "harmless-base.jsonl.gz",
        "--split",
        "test",
        "--output_dir",
        tmp_path / "out",
    )
    found = rows(tmp_path / "out" / "test.jsonl")
    assert (
        len(found) == 1154 and "2 of 1,156 rows left out: one of the replies is empty (2)" in capsys.readouterr().out
    )
    assert {row["prompt"][0]["role"] for row in found} == {row["prompt"][-1]["role"] for row in found} == {"user"}
    assert Counter(row[side][-1]["role"] for row in found for side in ("chosen", "rejected")) == {
        "assistant": 2 * 1154
    }
    assert not any(row["chosen"] == row["rejected"] or "\n\nHuman:" in row["chosen"][-1]["content"] for row in found)


def test_pairs_that_begin_alike_are_on_one_side(shared_data, tmp_path):
    """A conversation that comes twice, with other replies or further on, is trained on or held out, not both."""
    file = shared_data / "hh-rlhf" / "harmless-base.jsonl.gz"
    given = ("--dataset", file, "--held_out", 0.5)
    run(*given, "--output_dir", tmp_path / "out")
    found = {split: rows(tmp_path / "out" / f"{split}.jsonl") for split in ("train", "test")}
    first = {split: {pair["prompt"][0]["content"] for pair in pairs} for split, pairs in found.items()}
    assert sum(map(len, found.values())) == 1154 > sum(map(len, first.values())) and not first["train"] & first["test"]
    assert 500 < len(found["test"]) < 650
    assert {path.stem for path in (tmp_path / "out").glob("*.jsonl")} == {"train", "test"}
    run(*given, "--rows", 100, "--output_dir", tmp_path / "few")
    few = [rows(tmp_path / "few" / f"{split}.jsonl") for split in ("train", "test")]
    assert sum(map(len, few)) <= 100 and all(pair in found["test"] for pair in few[1])


@pytest.mark.parametrize(
    "argv, says",
    [
        (["--dataset", "d.jsonl", "--held_out", "1"], "held_out must lie between 0 and 1"),
        (["--rankings", "r.jsonl", "--held_out", "0.5"], "go with dataset"),
        (["--rankings", "r.jsonl", "--rows", "5"], "go with dataset"),
    ],
)
def test_what_is_held_out_is_of_a_published_set(tmp_path, capsys, argv, says):
    with pytest.raises(SystemExit):
        run(*argv, "--output_dir", tmp_path / "out")
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_scores_and_messages(tmp_path):
    scored = {
        "instruction": "Which?",
        "completions": [
            {"response": text, "overall_score": score}
            for text, score in (("a", 7.0), ("b", 9.5), ("c", 7.0), ("d", None))
        ],
    }
    run("--dataset", write(tmp_path / "scored.jsonl", [scored]), "--output_dir", tmp_path / "scored")
    assert set(map(said, rows(tmp_path / "scored" / "train.jsonl"))) == {("b", "a", 1), ("b", "c", 1)}
    sides = {
        side: [*ASK, {"role": "assistant", "content": text}] for side, text in (("chosen", "a"), ("rejected", "b"))
    }
    run(
        "--dataset",
        write(tmp_path / "binary.jsonl", [{"prompt": "Which?", **sides}]),
        "--output_dir",
        tmp_path / "binary",
    )
    pair = {"prompt": ASK, "chosen": sides["chosen"][1:], "rejected": sides["rejected"][1:], "rank_distance": 1}
    assert rows(tmp_path / "binary" / "train.jsonl") == [pair]
    binarized = [{"prompt": "Which?", **sides, "score_chosen": 7.0, "score_rejected": worse} for worse in (7.0, 6.0)]
    run("--dataset", write(tmp_path / "binarized.jsonl", binarized), "--output_dir", tmp_path / "binarized")
    assert rows(tmp_path / "binarized" / "train.jsonl") == [pair]  # equal scores are no preference
    texts = [
        {"prompt": prompt, "chosen": " a", "rejected": "b "}
        for prompt in ("Which?", "\n\nHuman: Which?\n\nAssistant:")
    ]
    run("--dataset", write(tmp_path / "texts.jsonl", texts), "--output_dir", tmp_path / "texts")
    assert rows(tmp_path / "texts" / "train.jsonl") == [pair, pair]


@pytest.mark.parametrize(
    "lines, option, says",
    [
        ([ranked([0, 4])], "rankings", "row 1: ranking must name"),
        ([ranked([0, 1]), ranked([0, [0, 1]])], "rankings", "row 2: ranking must name"),
        ([ranked("best")], "rankings", "ranking must name"),
        ([ranked([True, 0])], "rankings", "ranking must name"),
        ([ranked([0, 1], split="dev")], "rankings", "line 1"),
        ([ranked([0, 1]) | {"responses": "ab"}], "rankings", "responses must be texts"),
        ([ranked([[0, 1, 2, 3]], split="train")], "rankings", "no pair for train"),
        ([{"prompt": ASK}], "rankings", "no responses"),
        ([{"text": "a"}], "dataset", "has no column chosen, rejected (it has text)"),
        (
            [{"chosen": "no transcript", "rejected": "neither"}],
            "dataset",
            "none of its 1 rows can be used (chosen and rejected): 1 left out: the two replies answer no common",
        ),
        (
            [{"chosen": [{"role": "user"}], "rejected": [{"role": "user"}]}],
            "dataset",
            "1 left out: a turn has no content",
        ),
        ([], "dataset", "empty"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, capsys, lines, option, says):
    file = write(tmp_path / "r.jsonl", lines)
    with pytest.raises(SystemExit) as exit_:
        run(f"--{option}", file, "--output_dir", tmp_path / "out")
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count("error: ") == 1 and says in error and not (tmp_path / "out").exists()


def test_one_way_in(tmp_path, capsys):
    for argv in ([], ["--model", "m"], ["--rankings", "r.jsonl", "--dataset", "d.jsonl"], ["--prompts_dir", "p"]):
        with pytest.raises(SystemExit):
            run(*argv, "--output_dir", tmp_path / "out")
        assert "give one of" in capsys.readouterr().err


def test_a_killed_run_asks_nothing_twice_and_ends_with_the_same_bytes(
    chat_model, world, tmp_path, monkeypatch, capsys
):
    asked, dies_at, real = [], [None], Replier.__call__

    def reply(self, conversations, *more):
        if len(asked) == dies_at[0]:
            raise KeyboardInterrupt
        asked.append([c[0]["content"] for c in conversations])
        return real(self, conversations, *more)

    monkeypatch.setattr(Replier, "__call__", reply)

    def go(out, *more) -> dict[str, bytes]:
        run(
            "--model",
            chat_model,
            "--prompts_dir",
            world / "verses",
            "--output_dir",
            tmp_path / out,
            "--candidates",
            2,
            "--max_new_tokens",
            4,
            "--chunk",
            64,
            *more,
        )
        return {
            name: (tmp_path / out / f"{name}.jsonl").read_bytes()
            for name in ("answers", "rankings", "train", "validation", "test")
        }

    whole, chunks = go("whole"), len(asked)
    assert chunks == 4  # of 222 prompts
    dies_at[0] = chunks + 2
    with pytest.raises(SystemExit, match="130"):
        go("killed")
    dies_at[0] = None
    with (tmp_path / "killed" / "answers.jsonl").open("a") as file:
        file.write('{"prompt": "half')
    assert go("killed") == whole and asked[:chunks] == asked[chunks:]
    assert (
        go("killed", "--noise", 9)["answers"] == whole["answers"] and len(asked) == 2 * chunks
    )  # ranked again, nothing is asked
    with pytest.raises(SystemExit):
        go("killed", "--temperature", 2)
    assert "made with other settings (temperature: 1.0, now 2.0)" in capsys.readouterr().err


def test_a_ranker_that_reads_what_no_row_has_is_told_before_the_work(chat_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Replier, "__init__", lambda *_: pytest.fail("asked"))
    for split in ("train", "validation", "test"):
        write(tmp_path / f"{split}.jsonl", [{"prompt": ASK}])
    with pytest.raises(SystemExit):
        run("--model", chat_model, "--prompts_dir", tmp_path, "--output_dir", tmp_path / "out")
    assert "cannot rank answers to a row of train.jsonl" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_margin_by_places(chat_model, preferences, tmp_path, capsys):
    """Replies far apart in a ranking are to lie further apart in score; pairs that do not say how far cannot
    have it."""
    from recipes.reward import main as train

    argv = [
        "--model_name_or_path",
        chat_model,
        "--output_dir",
        tmp_path / "out",
        "--use_cpu",
        "true",
        "--bf16",
        "false",
        "--max_steps",
        "1",
        "--margin_per_place",
        "0.5",
    ]
    config = tmp_path / "c.yaml"

    def run(file) -> None:
        config.write_text(
            json.dumps({"datasets": [{"path": str(file)}], "per_device_train_batch_size": 4, "logging_steps": 1})
        )
        train([str(a) for a in ("--config", config, *argv)])

    with pytest.raises(SystemExit):
        run(preferences / "train.jsonl")
    assert "no column rank_distance" in capsys.readouterr().err and not (tmp_path / "out").exists()
    losses = []
    for apart in (1, 9):
        argv[3] = tmp_path / f"apart-{apart}"
        run(
            write(
                tmp_path / "far.jsonl", [row | {"rank_distance": apart} for row in rows(preferences / "train.jsonl")]
            )
        )
        losses += [row["loss"] for row in rows(argv[3] / "log.jsonl") if "loss" in row]
    assert losses[1] - losses[0] == pytest.approx(4, abs=1), (
        losses
    )  # -log sigmoid(difference - margin) of margins 0.5 and 4.5


def test_real_rankings_train_a_reward_model_end_to_end(shared_data, chat_model, tmp_path):
    """hh-rlhf's real half: pairs, a reward model that has taken some of them in, and its accuracy on pairs that it has
    not seen."""
    from eval.pairs import main as judge
    from recipes.reward import main as reward

    run(
        "--dataset",
        shared_data / "hh-rlhf" / "harmless-base.jsonl.gz",
        "--split",
        "test",
        "--output_dir",
        tmp_path / "pairs",
    )
    short = [p for p in rows(tmp_path / "pairs" / "test.jsonl") if len(str(p)) < 900]
    assert len(short) > 300
    train, held_out = write(tmp_path / "train.jsonl", short[:32]), write(tmp_path / "test.jsonl", short[200:300])
    training = {
        "datasets": [{"path": train}],
        "eval_datasets": [{"path": held_out}],
        "max_steps": 20,
        "per_device_train_batch_size": 16,
        "learning_rate": 0.001,
        "max_length": 512,
    }
    config = {
        "model_name_or_path": str(chat_model),
        "output_dir": str(tmp_path / "reward"),
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    (tmp_path / "reward.yaml").write_text(json.dumps(config | training))
    reward(["--config", str(tmp_path / "reward.yaml")])
    judge(["--model", str(tmp_path / "reward"), "--pairs", held_out, "--output", str(tmp_path / "pairs.json")])
    losses = [row["loss"] for row in rows(tmp_path / "reward" / "log.jsonl") if "loss" in row]
    found = json.loads((tmp_path / "pairs.json").read_text())
    assert len(losses) == 20 and sum(losses[-5:]) < sum(losses[:5])
    assert (
        found["pair_accuracy_labels"]["n"] == 100
        and 0 < found["pair_accuracy_labels"]["value"] < 1
        and -1 <= found["length_correlation"]["value"] <= 1
    )
