"""Environments of the package verifiers in GRPO and RLOO: its own code runs the turns, and its rubric pays.

    pip install -c constraints.txt -e '.[environments]'
    python -m recipes.rewards.verifiers_environments --environment verifiers:wordle --output_dir runs/wordle

writes the environment's own data set, train.jsonl and, where it has one, test.jsonl: the rows that a recipe with
`environment: verifiers:wordle` trains on and watches. The name is that of an importable module with a
`load_environment`, as the environments that people share have it. Whatever is a `verifiers.Environment` with a reward
for each rollout goes: one turn or several, tools, tools with a state. What pays a rollout by comparing it with others,
and what changes earlier turns, is refused.

`verifiers` 0.4 has no such environments any more: there a program plays, and asks for its turns over HTTP.
"""

import json
import uuid
from dataclasses import dataclass, field

from eval.cli import UserError, command, output_folder, parse, write_jsonl
from eval.shared.messages import text as joined
from recipes.rewards.environments import PACKAGE, Environment
from recipes.rewards.rollouts import Ask, NoRoom, Outcome, Play

KEPT = ("prompt", "answer", "info", "task", "example_id")


def package():
    """The package, with the classes that environments are made of.

    Raises:
        UserError: it is not installed, or in a version without them.
    """
    try:
        import verifiers
    except ImportError:
        verifiers = None
    if not hasattr(verifiers, "Environment"):
        raise UserError(
            "environments of verifiers need the package verifiers, at least 0.3.1 and below 0.4:"
            " pip install -c constraints.txt -e '.[environments]'"
        )
    return verifiers


def load_verifiers(name: str, arguments: dict):
    """The environment as the package has it.

    Raises:
        UserError: there is none of that name, or it needs several rollouts to pay one.
    """
    vf = package()
    try:
        environment = vf.load_environment(name, **arguments)
    except Exception as error:  # of the environment's own module: the user is to see it, in one line
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"there is no environment {PACKAGE}{name} ({lines[0]})") from None
    if environment.requires_group_rollouts:
        raise UserError(
            f"the environment {PACKAGE}{name} pays rollouts by comparing them with each other, which is not done here:"
            " give it a rubric of functions of one rollout"
        )
    return environment


def load(name: str, arguments: dict) -> Environment:
    """The environment as the trainers take it."""
    environment = load_verifiers(name, arguments)
    tools = {tool.name: list(tool.parameters.get("properties", {})) for tool in environment.tool_defs or []}
    return Environment(name, player(environment), True, tools)


def player(environment) -> Play:
    """How a rollout goes: the package's `run_rollout`, whose client is the policy."""
    vf = package()

    async def play(row: dict, ask: Ask) -> Outcome:
        client = make_client(vf, ask)
        given = {name: row[name] for name in KEPT if row.get(name) is not None}
        done = await environment.run_rollout({"example_id": 0, **given}, client, "policy", {})
        if client.failure:
            raise client.failure
        metrics = {**done["metrics"], "error": float(bool(done["error"]))}
        return Outcome(None if done["error"] else done["reward"], metrics)

    return play


def make_client(vf, ask: Ask):
    """A client of the package that asks the policy; `failure` is the user's error in it, if there was one."""
    from verifiers.clients import Client

    class PolicyClient(Client):
        failure: UserError | None = None

        def setup_client(self, config):
            raise UserError("the policy is no endpoint")

        async def to_native_tool(self, tool) -> dict:
            function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            return {"type": "function", "function": function}

        async def to_native_prompt(self, messages) -> tuple[list[dict], dict]:
            return as_messages(messages), {}

        async def get_native_response(self, prompt, model, sampling_args, tools=None, **_) -> dict:
            try:
                return await ask(prompt, tools)
            except NoRoom:
                raise vf.OverlongPromptError("no tokens are left") from None
            except UserError as error:
                self.failure = error
                raise

        async def raise_from_native_response(self, response) -> None:
            pass

        async def from_native_response(self, response):
            return as_response(response)

        async def close(self) -> None:
            pass

    return PolicyClient(ask)


def as_messages(messages) -> list[dict]:
    """The package's messages as templates take them; a tool's result has its tool's name."""
    made, names = [], {}
    for message in messages:
        if not isinstance(message.content, str | None):
            content = joined([dict(part) for part in message.content])
        else:
            content = message.content or ""
        turn = {"role": "user" if message.role == "text" else message.role, "content": content}
        if message.role == "assistant" and message.tool_calls:
            names |= {call.id: call.name for call in message.tool_calls}
            functions = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in message.tool_calls]
            turn["tool_calls"] = [{"type": "function", "function": function} for function in functions]
        if message.role == "tool":
            turn["name"] = names.get(message.tool_call_id, "tool")
        made.append(turn)
    return made


def as_response(message: dict):
    """A turn of the policy as the package's response."""
    from verifiers.types import Response, ResponseMessage, ToolCall

    calls = []
    for call in message.get("tool_calls") or []:
        function = call.get("function", call)
        arguments = json.dumps(function["arguments"])
        calls.append(ToolCall(id=uuid.uuid4().hex, name=function["name"], arguments=arguments))
    said = ResponseMessage(
        content=message.get("content") or "",
        reasoning_content=message.get("reasoning_content"),
        tool_calls=calls or None,
        finish_reason="tool_calls" if calls else "stop",
        is_truncated=False,
    )
    return Response(id=uuid.uuid4().hex, created=0, model="policy", message=said)


@dataclass
class VerifiersArguments:
    environment: str = field(metadata={"help": "verifiers:<name>"})
    output_dir: str = field(metadata={"help": "folder to write train.jsonl and test.jsonl to"})
    environment_args: dict | None = field(default=None, metadata={"help": "what its load_environment takes"})


def rows_of(dataset) -> list[dict]:
    """The rows of an environment's data set; `info`, whose keys differ from row to row, as JSON."""
    rows = []
    for row in dataset:
        kept = {name: row[name] for name in KEPT if row.get(name) is not None}
        if not isinstance(kept.get("info", ""), str):
            kept["info"] = json.dumps(kept["info"])
        rows.append(kept)
    return rows


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((VerifiersArguments,), argv)
    environment = load_verifiers(args.environment.removeprefix(PACKAGE), args.environment_args or {})
    parts = {"train": environment.get_dataset()}
    if environment.eval_dataset_source is not None:
        parts["test"] = environment.get_eval_dataset()
    folder = output_folder(args.output_dir)
    for name, dataset in parts.items():
        write_jsonl(folder / f"{name}.jsonl", rows_of(dataset))
        print(f"{folder / name}.jsonl: {len(dataset):,} rows")


if __name__ == "__main__":
    main()
