"""What a chat completion may cost: its messages, its tools and its output.

Plain text is exact, with three tokens to begin the output (OpenAI's cookbook, "How to count tokens
with tiktoken"). The other constants are ceilings found on recorded responses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import InvalidValue
from tokenbalance.model import Estimate
from tokenbalance.openai.ceilings.hosted_tools import (
    DEFAULT_CALLS,
    SEARCH,
    WEB_SEARCH,
    allowance_for,
    callable_tools,
    check_tool,
    every_tool,
    fee_of,
    hosted_calls,
    without_inner_tools,
)
from tokenbalance.openai.ceilings.media import (
    unsupported,
)
from tokenbalance.openai.ceilings.messages import (
    content_tokens,
    has_parts,
    is_of,
    message_tokens,
    plain_tokens,
)
from tokenbalance.openai.ceilings.schemas import (
    format_tokens,
    function_tokens,
    json_tokens,
    unread_tokens,
)
from tokenbalance.openai.documents import (
    optional_integer,
    optional_list,
    optional_object,
    path_of,
    require_list,
    require_object,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, HostedCalls, Json, Quantities
    from tokenbalance.openai.ceilings.hosted_tools import Offer
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

LARGEST_CAP: Final = 2**31 - 1
LARGEST_CHOICES: Final = 128

REPLY: Final = 3
TOOLS: Final = 16
REASONING_TOOLS: Final = 96
"""Reasoning models get longer instructions on how to call functions."""
_TEXT_ALONE: Final[tuple[Json, ...]] = (None, [], ["text"])
_TEXT_PARTS: Final = frozenset({"refusal", "text"})
_CHOICE: Final = 8
_UNWRITTEN_CHOICES: Final = (None, "auto", "none")
_SEARCHES: Final = 1
"""A search model searches once, before its output."""
SEARCH_OPTIONS: Final = "web_search_options"
_SEARCHED: Final = fee_of(SEARCH)
"""What that search uses besides tokens. No usage report of a chat has it."""
SEARCH_MODEL: Final = "-search-"
"""In the names of models that search for every chat, whether or not options of a search are set."""
_FREE_SEARCH: Final = "-search-preview"
"""In the names of models whose search results are not billed as input: a recorded prompt had 12
tokens. OpenAI bills the call instead; for later models it bills the results as input."""

FIELDS: Final = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model",
    "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream",
    "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
    "verbosity", "web_search_options",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""
_TOOL_FIELDS: Final = frozenset({"function", "type"})
_FORMAT_FIELDS: Final = frozenset({"json_schema", "type"})
_CLIENT_TOOLS: Final = frozenset({"custom", "function"})
_OTHER_CAPS: Final = ("n_predict", "num_predict", "max_new_tokens", "max_output_tokens")
"""Output limits that some servers read before OpenAI's fields, or in addition to them."""
_OTHER_CHOICES: Final = ("best_of", "n_cmpl")
_PROGRAMS: Final = ("chat_template",)
"""Programs that would write the prompt: nothing bounds its length."""


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of a chat completion, its text measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    cap_fields, named = (_foreign_cap if model.is_foreign else _named_cap)(document)
    choices = _choices(document, model)
    # Rejected tokens of a prediction are billed as output in addition to what the cap limits.
    prediction = choices * _prediction_tokens(document, model, measure)
    prompt = _prompt_tokens(document, model, measure)
    calls = _hosted_calls(document, prompt, model)
    turns = prompt if calls is None else calls.input_tokens(calls.most)
    return Estimate(
        input_tokens=turns + prediction,
        choices=choices,
        output_cap=named or model.maximum_output,
        output_minimum=1,
        cap_fields=cap_fields,
        tells_cap=model.is_foreign and named is not None,
        calls=calls,
        predicted=prediction,
        has_media=_has_media(document),
        unreported=_SEARCHED if is_search(document) else (),
    )


def _choices(document: Document, model: Model) -> int:
    choices = _choices_in(document, "n")
    if not model.is_foreign:
        return choices
    return max(choices, *(_choices_in(document, name) for name in _OTHER_CHOICES))


def _choices_in(document: Document, name: str) -> int:
    return optional_integer(document, name, minimum=1, maximum=LARGEST_CHOICES) or 1


def _has_media(document: Document) -> bool:
    """Whether input or output may contain anything but text; the document is valid."""
    if document.get("audio") is not None or document.get("modalities") not in _TEXT_ALONE:
        return True
    return any(map(_is_media, require_list(document, "messages")))


def _is_media(message: Json) -> bool:
    if not isinstance(message, dict):
        return False
    return message.get("audio") is not None or (
        not isinstance(content := message.get("content"), str) and has_parts(content, _TEXT_PARTS)
    )


def _named_cap(document: Document) -> tuple[tuple[str, ...], int | None]:
    """The field that limits the output, and the client's own limit if it has set one."""
    older = _cap(document, "max_tokens")
    newer = _cap(document, "max_completion_tokens")
    if newer is None:
        # The newer field cannot be combined with a prediction.
        is_older = older is not None or document.get("prediction") is not None
        return ("max_tokens" if is_older else "max_completion_tokens",), older
    if older is not None:
        message = (
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        )
        raise InvalidValue(message, param="max_tokens")
    return ("max_completion_tokens",), newer


def _foreign_cap(document: Document) -> tuple[tuple[str, ...], int | None]:
    """The same for servers that read different fields: all of them are set."""
    others = tuple(name for name in _OTHER_CAPS if document.get(name) is not None)
    names = ("max_tokens", "max_completion_tokens", *others)
    named = [cap for cap in (_cap(document, name) for name in names) if cap is not None]
    return names, min(named, default=None)


def _cap(document: Document, name: str) -> int | None:
    return optional_integer(document, name, minimum=1, maximum=LARGEST_CAP)


def _prediction_tokens(document: Document, model: Model, measure: Measure) -> int:
    prediction = optional_object(document, "prediction")
    if prediction is None or prediction.get("content") is None:
        return 0
    return content_tokens(prediction["content"], "prediction.content", model, measure)


def _prompt_tokens(document: Document, model: Model, measure: Measure) -> int:
    messages = require_list(document, "messages")
    if model.is_foreign:
        _refuse_programs(document)
    tokens = REPLY + model.overhead + unread_tokens(document, FIELDS, measure)
    for index, message in enumerate(messages):
        plain = plain_tokens(message, measure)
        if plain is None:
            at = f"messages[{index}]"
            plain = message_tokens(require_object(message, at), at, model, measure)
        tokens += plain
    tokens += _tools_tokens(document, model, measure) + _options_tokens(document, measure)
    return tokens + _format_tokens(document, measure)


def _refuse_programs(document: Document) -> None:
    for field in _PROGRAMS:
        if document.get(field) is not None:
            raise unsupported(field)


def _tools_tokens(document: Document, model: Model, measure: Measure) -> int:
    functions, tools = optional_list(document, "functions"), optional_list(document, "tools")
    if not functions and not tools:
        return choice_tokens(document, measure)
    tokens = REASONING_TOOLS if model.is_reasoning else TOOLS
    # The overhead of an unknown template already includes all of them as JSON.
    words = _no_tokens if model.is_foreign else measure
    for index, function in enumerate(functions):
        fields = require_object(function, path_of("functions", index))
        tokens += function_tokens(fields, words)
    for tool, at in every_tool(tools, "tools"):
        tokens += _tool_tokens(without_inner_tools(tool), at, words)
    return tokens + choice_tokens(document, measure)


def _no_tokens(_text: str) -> int:
    return 0


def _tool_tokens(tool: dict[str, Json], at: str, measure: Measure) -> int:
    if _is_hosted(tool):
        check_tool(tool, at)
        return allowance_for(tool).description + function_tokens(tool, measure)
    function = optional_object(tool, "function", at=at)
    if function is None:
        return function_tokens(tool, measure)
    return function_tokens(function, measure) + unread_tokens(tool, _TOOL_FIELDS, measure)


def _is_hosted(tool: dict[str, Json]) -> bool:
    """Whether the client does not run it: it is no function, named or not, and no custom tool."""
    kind = tool.get("type")
    if kind is None:
        return not (isinstance(tool.get("function"), dict) or isinstance(tool.get("name"), str))
    return not is_of(tool, _CLIENT_TOOLS)


def _hosted_calls(document: Document, prompt: int, model: Model) -> HostedCalls | None:
    """The calls to hold for; a chat has no field that limits them."""
    tools = optional_list(document, "tools")
    if not tools and document.get(SEARCH_OPTIONS) is None:
        return None
    allowed = callable_tools(document.get("tool_choice"), _hosted_tools(document))
    allowances = [allowance_for(tool) for tool, _ in allowed]
    calls = 0
    uses: tuple[Quantities, ...] = ()
    if any(each.call for each in allowances):
        calls = DEFAULT_CALLS
        uses = tuple(sorted({fee_of(each) for each in allowances if each.call and each.fee}))
    elif document.get(SEARCH_OPTIONS) is not None and not _finds_free(document, model):
        allowances, calls = [SEARCH], _SEARCHES
    if not calls:
        return None
    hosted = hosted_calls(prompt, allowances, calls, calls, model)
    return hosted and replace(hosted, uses=uses)


def offers(document: Document) -> list[Offer]:
    """What the upstream may run for a chat: the tools that it may call, and a search of the web.

    Raises:
        InvalidType: a tool is not an object.
    """
    offered: list[Offer] = []
    if document.get("tools"):
        offered = callable_tools(document.get("tool_choice"), _hosted_tools(document))
    if is_search(document):
        at = "model" if document.get(SEARCH_OPTIONS) is None else SEARCH_OPTIONS
        offered.append(({"type": WEB_SEARCH}, at))
    return offered


def _hosted_tools(document: Document) -> Iterator[Offer]:
    for tool, at in every_tool(optional_list(document, "tools"), "tools"):
        if _is_hosted(tool):
            yield tool, at


def is_search(document: Document) -> bool:
    """Whether the web is searched for a chat, as its fields or its model say."""
    return document.get(SEARCH_OPTIONS) is not None or SEARCH_MODEL in str(document.get("model"))


def _finds_free(document: Document, model: Model) -> bool:
    return not model.is_foreign and _FREE_SEARCH in str(document.get("model"))


def choice_tokens(document: Document, measure: Measure) -> int:
    """Tokens at most of the instruction to call a function, or a certain one."""
    choice = document.get("tool_choice")
    return 0 if choice in _UNWRITTEN_CHOICES else _CHOICE + json_tokens(choice, measure)


def _format_tokens(document: Document, measure: Measure) -> int:
    wanted = optional_object(document, "response_format")
    if not wanted:
        return 0
    schema = optional_object(wanted, "json_schema", at="response_format")
    tokens = unread_tokens(wanted, _FORMAT_FIELDS, measure)
    return tokens + (0 if schema is None else format_tokens(schema, measure))


def _options_tokens(document: Document, measure: Measure) -> int:
    """Tokens at most of the older field for which function to call, and of options of a search."""
    call = document.get("function_call")
    tokens = 0 if call in _UNWRITTEN_CHOICES else _CHOICE + json_tokens(call, measure)
    return tokens + json_tokens(document.get(SEARCH_OPTIONS), measure)
