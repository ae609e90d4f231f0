"""Writes an OpenAPI document of all that the installed `openai` can call, for a mock server.

    python sdk_spec.py PUBLISHED.yml DRAWN.json

Paths and types of responses are read from the SDK's own resources, since the published document is
older than the SDK. What that one says of requests is taken over, so that the mock server refuses a
request that was changed on its way; of operations that it does not have, anything is accepted.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai.resources
import yaml
from openai._resource import SyncAPIResource
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Iterator

_CALLS = {"_get": "get", "_post": "post", "_put": "put", "_patch": "patch", "_delete": "delete"}
_OURS = "SDK_"
_REFERENCES = "#/components/schemas/" + _OURS + "{model}"
_ANYTHING: Any = {"application/json": {"schema": {}}, "multipart/form-data": {"schema": {}}}


def main() -> None:
    """Read one document and write the other."""
    published, drawn = map(Path, sys.argv[1:3])
    known = yaml.load(published.read_text("utf-8"), yaml.CSafeLoader)
    calls = dict(_calls())
    adapters = [
        (key, "validation", TypeAdapter(type_))
        for key, (type_, _) in calls.items()
        if type_ is not None
    ]
    schemas, shared = TypeAdapter.json_schemas(adapters, ref_template=_REFERENCES)
    paths: dict[str, Any] = {}
    for (method, path), (type_, page) in calls.items():
        schema = None if type_ is None else schemas[(method, path), "validation"]
        asked = _published(known, method, path)
        paths.setdefault(path, {})[method] = {
            **_request(asked, method, path),
            "responses": {"200": _response(schema, page, method, path)},
        }
    known["paths"] = paths
    known["components"]["schemas"] |= {
        _OURS + name: schema for name, schema in shared.get("$defs", {}).items()
    }
    drawn.write_text(json.dumps(known, default=str), "utf-8")


def _calls() -> Iterator[Any]:
    """Yield method and path of each call, with the type of its response and its kind of page."""
    modules = pkgutil.walk_packages(openai.resources.__path__, "openai.resources.")
    for module in (importlib.import_module(one.name) for one in modules):
        for _, resource in inspect.getmembers(module, inspect.isclass):
            if issubclass(resource, SyncAPIResource) and resource.__module__ == module.__name__:
                tree = ast.parse(inspect.getsource(module))
                body = next(
                    node.body
                    for node in tree.body
                    if isinstance(node, ast.ClassDef) and node.name == resource.__name__
                )
                for call in (node for one in body for node in ast.walk(one)):
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                        found = _call(call, call.func.attr, vars(module))
                        if found is not None:
                            yield found


def _call(call: ast.Call, name: str, names: dict[str, Any]) -> Any:
    keywords = {one.arg: one.value for one in call.keywords}
    if name == "_get_api_list":
        method = keywords.get("method")
        page = ast.unparse(keywords["page"]).partition("[")[0]
        verb = "get" if method is None else ast.literal_eval(method)
        return (verb, _path(call.args[0])), (_evaluated(keywords["model"], names), page)
    if name in _CALLS and call.args:
        path = _path(call.args[0])
        if path is not None:
            return (_CALLS[name], path), (_evaluated(keywords["cast_to"], names), None)
    return None


def _path(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call) and node.args:
        node = node.args[0]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.partition("?")[0]
    return None


def _evaluated(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return a type; None for what is no JSON."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "cast":
        node = node.args[1]
    text = ast.unparse(node)
    if "Binary" in text or "NoneType" in text or text == "str":
        return None
    if "response_format_type" in text:
        return importlib.import_module("openai.types.audio").Transcription
    return eval(text, dict(names))  # noqa: S307 - a name in the installed SDK


def _published(known: Any, method: str, path: str) -> Any:
    """Return the published operation of a path, whatever its parameters are called there."""
    shape = re.sub(r"\{\w+\}", "{}", path)
    for other, operations in known["paths"].items():
        if re.sub(r"\{\w+\}", "{}", other) == shape and method in operations:
            parameters = operations.get("parameters", []) + operations[method].get("parameters", [])
            return {**operations[method], "parameters": parameters}
    return {}


def _request(asked: Any, method: str, path: str) -> Any:
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    others = [one for one in asked.get("parameters", []) if one.get("in") != "path"]
    request: Any = {"parameters": named + others}
    if method not in {"get", "delete"}:
        request["requestBody"] = asked.get("requestBody", {"content": _ANYTHING})
    return request


def _response(schema: Any, page: str | None, method: str, path: str) -> Any:
    if schema is None:
        # Deletions return JSON that the SDK does not read.
        kind = "application/json" if method == "delete" else "application/octet-stream"
        body = {"type": "object"} if method == "delete" else {"type": "string", "format": "binary"}
        return {"description": path, "content": {kind: {"schema": body}}}
    if page is not None:
        name = {"type": "string", "minLength": 1}
        schema = {
            "type": "object",
            "properties": {
                "object": {"const": "list"},
                "data": {"type": "array", "items": schema},
                "has_more": {"const": False},
                "first_id": name,
                "last_id": name,
                "next": {"type": "null"},
                "next_page": {"type": "null"},
            },
            "required": ["object", "data", "has_more", "first_id", "last_id"],
        }
    kinds = {"application/json": {"schema": schema}}
    return {"description": path, "content": kinds}


if __name__ == "__main__":
    main()
