"""The values in a JSON table of tags, as the cells that a CSV would have."""

import json
from typing import Any

from dataset.tag_text import NAMESPACES


def entry(name: str, content: object) -> dict:
    """Return the object for an id: its own, or one with its tags."""
    is_scored = isinstance(content, dict) and content and all(isinstance(value, (int, float)) for value in content.values())
    return {"id": name, **content} if isinstance(content, dict) and not is_scored else {"id": name, "tags": content}


def cell(value: object) -> str:
    """Return a value as the cell of a table: a list, tags with probabilities, or categories with tags."""
    if isinstance(value, dict) and any(isinstance(tags, (list, dict, str)) for tags in value.values()):
        value = [tag for category, tags in value.items() for tag in _of_category(category, tags)]
    if isinstance(value, (list, dict)):
        return json.dumps([str(each) for each in value], ensure_ascii=False)
    return "" if value is None else str(value)


def _of_category(category: str, tags: Any) -> list[str]:
    """Return the tags of a category with its name, from a list, a text, or tags with probabilities; of ratings the best."""
    if isinstance(tags, str):
        tags = tags.split(",") if "," in tags else tags.split()
    if isinstance(tags, dict) and category == "rating":
        tags = sorted(tags, key=lambda name: -tags[name] if isinstance(tags[name], (int, float)) else 0)[:1]
    if not isinstance(tags, (list, dict)):
        tags = [] if tags is None else [tags]
    return [f"{category}:{tag}" if category in (*NAMESPACES, "rating") else str(tag) for tag in tags]
