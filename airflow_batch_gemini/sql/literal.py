"""GoogleSQL literals: whatever the text, it stays one literal.

Source: GoogleSQL reference, "Lexical structure and syntax", escape sequences.
"""

from __future__ import annotations

from airflow_batch_gemini.exceptions import InvalidNameError

_ESCAPES = {"\\": "\\\\", "'": "\\'", '"': '\\"', "`": "\\`", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def string_literal(text: str) -> str:
    """Return *text* as a STRING literal on one line."""
    return f"'{_escaped(text)}'"


def identifier(name: str) -> str:
    """Return *name* as a quoted identifier; a dotted table name is one identifier, as BigQuery has it."""
    if not name:
        raise InvalidNameError("An identifier cannot be empty. Nothing was sent.")
    return f"`{_escaped(name)}`"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(char) or (char if char.isprintable() else _code(char)) for char in text)


def _code(char: str) -> str:
    point = ord(char)
    if 0xD800 <= point <= 0xDFFF:
        raise InvalidNameError(f"U+{point:04X} is half a character and cannot be part of a statement.")
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
