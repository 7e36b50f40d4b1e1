"""What the chat page sends to its server; anything else is refused. Needs pydantic, which comes with Gradio."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from eval.cli import UserError
from recipes.chat_ui.approve import Decision


class Message(BaseModel, extra="allow"):
    role: Literal["system", "user", "assistant", "tool"]
    content: str


Messages = Annotated[list[Message], Field(min_length=1)]


class Asked(BaseModel):
    """Whom: a model by name, or a side of a blind pair. What: a conversation, or a text to continue."""

    model: str | None = None
    pair: str | None = None
    side: Literal[0, 1] = 0
    tools: bool = False
    prompt: Messages | str

    def given(self) -> list[dict] | str:
        """The prompt as plain messages, or as text."""
        return self.prompt if isinstance(self.prompt, str) else as_dicts(self.prompt)


class Reply(Asked):
    max_new_tokens: int
    temperature: float


class Tokens(Asked):
    ids: list[Annotated[int, Field(ge=0)]] = []
    written: list[int] = []


class Decided(BaseModel):
    ticket: str
    kind: Literal["allow", "edit", "refuse", "stop"]
    arguments: dict | None = None

    def decision(self) -> Decision | None:
        """What a person decided; None stops the job.

        Raises:
            UserError: an edit without arguments.
        """
        if self.kind == "stop":
            return None
        if self.kind == "edit" and self.arguments is None:
            raise UserError("an edit needs the arguments of the call")
        return Decision(self.kind, self.arguments if self.kind == "edit" else None)


class Pair(BaseModel):
    names: list[str]


class Vote(BaseModel):
    pair: str
    winner: Literal["a", "b", "tie"]
    labeller: str
    prompt: Messages
    responses: Annotated[list[Messages], Field(min_length=2, max_length=2)]


class Text(BaseModel):
    text: str = Field(max_length=50_000)  # some texts take a time that grows with the square of their length


def as_dicts(messages: list[Message]) -> list[dict]:
    return [message.model_dump() for message in messages]
