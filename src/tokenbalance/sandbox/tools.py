"""Decides whether a response calls a tool, and with which arguments.

The sandbox calls a tool only if the request insists: `tool_choice` is `required` or names a
function. Chats nest a function's fields below `function`, Responses do not; both are read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from tokenbalance.sandbox.examples import example_of
from tokenbalance.sandbox.generated import Generated, spell

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.fields import Fields


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function's name and the JSON text of its arguments."""

    name: str
    arguments: Generated
    """Its tokens include those of the name."""


def insisted_tool(fields: Fields) -> Document | None:
    """Return the function that must be called: its name and parameters. None for text."""
    functions = [_function_of(tool.document) for tool in fields.objects("tools")]
    functions = [function for function in functions if isinstance(function.get("name"), str)]
    choice = fields.value("tool_choice")
    if choice == "required":
        return functions[0] if functions else None
    if isinstance(choice, dict):
        wanted = _function_of(choice).get("name")
        return next((function for function in functions if function["name"] == wanted), None)
    return None


def call_tool(function: Document, model: str, cap: int | None, prompt: str) -> ToolCall:
    """Make up a call from the prompt and the schema of the function's parameters."""
    name = str(function["name"])
    arguments = orjson.dumps(example_of(function.get("parameters"), text=prompt[:80])).decode()
    name_tokens = spell(name, model, cap).tokens
    left = None if cap is None else cap - name_tokens
    spelled = spell(arguments, model, left)
    return ToolCall(
        name, Generated(spelled.pieces, spelled.tokens + name_tokens, finished=spelled.finished)
    )


def text_in_format(form: Json, text: str) -> str:
    """Return the text, as JSON if `response_format` or `text.format` asks for it."""
    if not isinstance(form, dict):
        return text
    match form.get("type"):
        case "json_object":
            return orjson.dumps({"answer": text}).decode()
        case "json_schema":
            nested = form.get("json_schema")
            schema = nested.get("schema") if isinstance(nested, dict) else form.get("schema")
            return orjson.dumps(example_of(schema, text=text)).decode()
        case _:
            return text


def _function_of(tool: Document) -> Document:
    nested = tool.get("function")
    return nested if isinstance(nested, dict) else tool
