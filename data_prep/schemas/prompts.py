"""What a policy is asked, out of any of the other forms: the problem, what stands before the replies, or before the
assistant's last turn."""

from data_prep.schemas import LeftOut, Schema, conversations, preferences, problems, questions
from data_prep.schemas.conversations import turns
from eval.shared.messages import conversation


def given(row: dict) -> list[dict]:
    """`prompt`: messages, a text or a transcript."""
    messages = preferences.asked(row["prompt"], row)
    if not messages:
        raise LeftOut("the prompt is empty")
    return [{"prompt": messages}]


def of_problem(schema: Schema):
    return lambda row: [{"prompt": made["prompt"]} for made in schema.rows(row)]


def of_pair(schema: Schema):
    return lambda row: [{"prompt": made["prompt"]} for made in list(schema.rows(row))[:1]]


def of_question(schema: Schema):
    return lambda row: [{"prompt": turns(("user", made["question"]))} for made in schema.rows(row)]


def open_talk(row: dict) -> list[dict]:
    """`messages`, whole where the user speaks last."""
    messages = conversation(row["messages"])
    return [{"prompt": messages if messages[-1]["role"] != "assistant" else before_the_last(messages)}]


def before_the_last(messages: list[dict]) -> list[dict]:
    last = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
    if not last:
        raise LeftOut("nothing is asked before the assistant speaks")
    return messages[:last]


def of_conversation(schema: Schema):
    if schema.together:

        def rows(all_of_them):
            made, left_out = schema.rows(all_of_them)
            return [{"prompt": before_the_last(row["messages"])} for row in made], left_out

        return rows
    return lambda row: [{"prompt": before_the_last(made["messages"])} for made in schema.rows(row)]


def others(forms: tuple, of) -> list[Schema]:
    return [Schema(schema.name, schema.columns, of(schema), schema.fits, together=schema.together) for schema in forms]


FORMS = (
    *others([s for s in problems.FORMS if not s.keeps and "prompt" in s.columns and s.name != "RLVR"], of_problem),
    Schema("prompts", ("prompt",), given, lambda row: isinstance(row["prompt"], (str, list)), keeps=True),
    *others([s for s in problems.FORMS if not s.keeps and "prompt" not in s.columns and s.name != "RLVR"], of_problem),
    *others([s for s in preferences.FORMS if not s.together], of_pair),
    Schema("messages", ("messages",), open_talk),
    *others(conversations.FORMS[1:], of_conversation),
    *others(questions.FORMS, of_question),
)
