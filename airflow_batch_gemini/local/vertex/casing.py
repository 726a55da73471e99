"""snake_case and camelCase: Google takes both and answers the latter."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_THE_USERS_OWN = frozenset(
    {"args", "response", "labels", "default", "example", "responseJsonSchema", "parametersJsonSchema"}
)
_KEYED_BY_USER = frozenset({"properties", "defs", "$defs"})


def words(text: str) -> frozenset[str]:
    """Return the words of a table of field names."""
    return frozenset(text.split())


@lru_cache(maxsize=4096)
def camel(name: str) -> str:
    """Return a field's camelCase name: ``file_uri`` → ``fileUri``; anything else stays."""
    head, *tail = name.split("_")
    if not head or not tail or not name.islower():
        return name
    return head + "".join(word[:1].upper() + word[1:] for word in tail)


def camelled(value: Any) -> Any:
    """Return a request with its fields in camelCase and nulls left out; the user's own keys stay as they are."""
    if isinstance(value, dict):
        return {
            name: _inside(name, item)
            for name, item in ((camel(key), item) for key, item in value.items())
            if item is not None
        }
    if isinstance(value, list):
        return [camelled(item) for item in value]
    return value


def _inside(name: str, item: Any) -> Any:
    if name in _THE_USERS_OWN:
        return item
    if name in _KEYED_BY_USER and isinstance(item, dict):
        return {key: camelled(schema) for key, schema in item.items()}
    return camelled(item)
