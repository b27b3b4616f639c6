"""The content of ACP messages as text. Anything may be given: what has no text has none here."""

import json
from collections.abc import Iterable
from typing import Any

TEXT_FIELDS = ("formatted_output", "aggregated_output", "output", "stdout", "content", "text")
"""Where agents have the text of a raw output, the most complete first."""


def text_of_block(block: Any) -> str | None:
    """Return a content block as text; what is no text is named: `[image image/png]`.

    None if it is no block.
    """
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "text"}:
            return None
        case {"type": "resource_link", "uri": str(uri), **rest}:
            return _link(rest.get("name"), uri)
        case {"type": "resource", "resource": {"uri": str(uri)}}:
            return _link(None, uri)
        case {"type": str(kind)}:
            media_type = block.get("mimeType")
            return f"[{kind} {media_type}]" if isinstance(media_type, str) else f"[{kind}]"
        case _:
            return None


def _link(name: Any, uri: str) -> str:
    given = name if isinstance(name, str) and name else uri.rstrip("/").rpartition("/")[2]
    return f"[{given or uri}]({uri})"


def merge_texts(blocks: Iterable[Any], separator: str) -> list[dict[str, Any]]:
    """Return *blocks*, without what is none, in which texts that follow each other are one.

    *separator* stands between them, unless there is white space already.
    """
    merged: list[dict[str, Any]] = []
    texts: list[str] = []
    for block in blocks:
        text = text_of_block(block)
        if text is None:
            continue
        if block["type"] != "text":
            merged += [*_one_text(texts), block]
            texts = []
        elif text:
            if separator and texts and texts[-1][-1].strip() and text[0].strip():
                texts.append(separator)
            texts.append(text)
    return [*merged, *_one_text(texts)]


def _one_text(texts: list[str]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "".join(texts)}] if texts else []


def text_of_tool_content(items: Any) -> str:
    """Return the texts in the content of a tool call, each on lines of its own.

    Resources count as text; diffs and terminals have none.
    """
    texts = []
    for item in items if isinstance(items, list) else ():
        match item:
            case {"type": "content", "content": {"type": "resource", "resource": {"text": str(t)}}}:
                texts.append(t)
            case {"type": "content", "content": block}:
                texts.append(text_of_block(block) or "")
    return "\n".join(filter(None, texts))


def names_of_diffs(items: Any) -> str:
    """Return the files that the diffs in the content of a tool call are of: `[diff of a.py]`."""
    paths = [
        item["path"]
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and item.get("type") == "diff" and type(item.get("path")) is str
    ]
    return "\n".join(f"[diff of {path}]" for path in paths)


def text_of_raw_output(value: Any) -> str:
    """Return the raw output of a tool as text: where that is known, else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for field in TEXT_FIELDS:
            if isinstance(text := value.get(field), str) and text:
                return text
    if isinstance(value, list) and value:
        texts = [text_of_block(each) for each in value]
        if None not in texts:
            return "\n".join(text for text in texts if text)
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""
