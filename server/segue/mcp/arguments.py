"""The arguments of the tools: their JSON Schema, and the check of what a model gives."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segue.model.search_text import MAX_QUERY

CHARS_PER_TOKEN = 4
"""By which tokens are estimated: that of English and code is about right for all models."""

MAX_TOKENS = 20_000
_DEFAULT_TOKENS = 4_000
_MIN_TOKENS = 500
_MAX_LISTED = 100
_MAX_FOUND = 50
_LAST_SEQ = 2**31 - 1


class ToolFault(Exception):  # noqa: N818  a model did something wrong, no program
    """What a model is told instead of an answer: what was wrong, and what to do."""


class ToolArguments(BaseModel):
    """Arguments of every tool."""

    model_config = ConfigDict(extra="forbid")

    everywhere: Annotated[
        bool, Field(description="Also conversations of other workspaces than this one.")
    ] = False


class PageArguments(ToolArguments):
    """Arguments of the tools that return a page."""

    archived: Annotated[bool, Field(description="Also conversations that were put aside.")] = False
    cursor: Annotated[
        str | None, Field(description="The next page, as the page before says.", max_length=1_000)
    ] = None


class ListArguments(PageArguments):
    """Arguments of `list_conversations`."""

    source: Annotated[
        str | None,
        Field(
            description="Only those imported from this program, such as claude-code, codex, "
            "gemini-cli or copilot-cli; segue: those recorded by Segue itself.",
            min_length=1,
            max_length=128,
        ),
    ] = None
    limit: Annotated[int, Field(ge=1, le=_MAX_LISTED)] = 20


class SearchArguments(PageArguments):
    """Arguments of `search_conversations`."""

    query: Annotated[
        str,
        Field(
            description='Words and "quoted phrases", all of which must occur in one message, one '
            "output of a tool or one title. Case does not matter, parts of words are found, and "
            "there is no other syntax. Fewer words find more.",
            min_length=1,
            max_length=MAX_QUERY,
        ),
    ]
    limit: Annotated[int, Field(ge=1, le=_MAX_FOUND)] = 10


class ReadArguments(ToolArguments):
    """Arguments of `read_conversation`."""

    id: Annotated[
        str,
        Field(
            description="The conversation's id, or as much of its beginning as no other has.",
            min_length=1,
            max_length=128,
        ),
    ]
    after: Annotated[
        int | None,
        Field(description="Begin behind the event with this number.", ge=0, le=_LAST_SEQ),
    ] = None
    around: Annotated[
        int | None,
        Field(
            description="Read the event with this number, such as one that was found, and those "
            "before and after it. It may take half of max_tokens, others a quarter each.",
            ge=1,
            le=_LAST_SEQ,
        ),
    ] = None
    max_tokens: Annotated[
        int,
        Field(
            description="The length of the answer at most, in tokens of "
            f"{CHARS_PER_TOKEN} characters each.",
            ge=_MIN_TOKENS,
            le=MAX_TOKENS,
        ),
    ] = _DEFAULT_TOKENS


Arguments = TypeVar("Arguments", bound=ToolArguments)


def parse(kind: type[Arguments], given: dict[str, Any] | None) -> Arguments:
    """Return the arguments of a call; raise ToolFault with everything that is wrong."""
    try:
        return kind.model_validate(given or {})
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
    known = ", ".join(kind.model_fields)
    told = "; ".join(_sentence(fault["loc"], fault["msg"]) for fault in faults[:10])
    raise ToolFault(f"Wrong arguments: {told}. Arguments are {known}.")


def schema_of(kind: type[ToolArguments]) -> dict[str, Any]:
    """Return the JSON Schema of the arguments, without what a model has no use for."""
    schema = kind.model_json_schema()
    del schema["title"], schema["description"]
    for each in schema["properties"].values():
        del each["title"]
        if "anyOf" in each:  # or null, which is the same as leaving it out
            each |= each.pop("anyOf")[0]
            del each["default"]
    return schema


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(each)[:100] for each in location) or "arguments"
    return f"{name}: {message[:1].lower()}{message[1:]}"
