"""Making an answer that fits a schema, the same one each time, out of the words of the prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from airflow_batch_gemini.local.dice import Dice
from airflow_batch_gemini.local.vertex.requests import RowError
from airflow_batch_gemini.local.vertex.schemas import Node

_SENTENCE_HINTS = re.compile(
    r"summar|sentence|descri|reason|expla|rationale|comment|abstract|overview|answer|note|text|why|paragraph|translation"
)
_SENTENCE = re.compile(r"[^\s.!?。！？][^.!?。！？\n]{14,280}[.!?。！？]?")
_WORD = re.compile(r"[^\W\d_][\w'-]{3,}")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_FORMATS: dict[str, Callable[[datetime], str]] = {
    "date": lambda moment: moment.date().isoformat(),
    "date-time": lambda moment: moment.isoformat().replace("+00:00", "Z"),
    "time": lambda moment: f"{moment.time().isoformat()}Z",
    "duration": lambda moment: f"P{moment.day}D",
    "email": lambda moment: f"person{moment.day}@example.com",
    "uri": lambda moment: f"https://example.com/{moment.day}",
    "uuid": lambda moment: str(UUID(int=int(moment.timestamp()), version=4)),
}
_SHALLOW = 8
_DEEPEST = 40


class Filler:
    """Fills schemas for one request; ``prompt`` is where its words come from."""

    def __init__(self, dice: Dice, prompt: str) -> None:
        self._dice = dice
        self._prompt = prompt
        self._lowered = ""
        self._sentences: list[str] | None = None
        self._words: list[str] | None = None

    def fill(self, node: Node, name: str = "", depth: int = 0) -> Any:
        """Return a value that fits the node.

        :raises RowError: the schema requires itself without end.
        """
        if depth > _DEEPEST:
            raise RowError("The response schema requires itself without end; no answer fits it.")
        if node.nullable and (depth > _SHALLOW or self._dice.unit() < 0.1):
            return None
        if node.choices:
            return self._choice(node)
        make: Callable[[Node, str, int], Any] = {
            "any": self._option,
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda *_: self._dice.unit() < 0.5,
            "null": lambda *_: None,
        }[node.kind]
        return make(node, name, depth)

    def _choice(self, node: Node) -> Any:
        """Prefer the choices that the prompt mentions, when it does not mention all of them."""
        self._lowered = self._lowered or self._prompt.lower()
        words = [choice for choice in node.choices if isinstance(choice, str) and len(choice) > 2]
        named = [word for word in words if word.lower() in self._lowered]
        return self._dice.pick(named if 0 < len(named) < len(node.choices) else node.choices)

    def _option(self, node: Node, name: str, depth: int) -> Any:
        scalars = [option for option in node.options if option.kind not in ("object", "array", "any")]
        options = scalars if scalars and depth > _SHALLOW else node.options
        return self.fill(self._dice.pick(options), name, depth + 1)

    def _object(self, node: Node, _name: str, depth: int) -> dict[str, Any]:
        room = min(node.high, math.inf if depth <= _SHALLOW else max(node.low, len(node.required)))
        chosen = [name for name in node.properties if name in node.required]
        for name in node.properties:
            if name not in node.required and len(chosen) < room:
                chosen.append(name)
        made = {
            name: self.fill(child, name, depth + 1)
            for name, child in node.properties.items()
            if name in chosen
        }
        number = 0
        while len(made) < node.low:
            number += 1
            made[f"key_{number}"] = self.fill(node.items, "", depth + 1) if node.items else self._phrase()
        return made

    def _array(self, node: Node, name: str, depth: int) -> list[Any]:
        low = int(node.low)
        high = low if depth > _SHALLOW else int(min(node.high, max(low, 1) + 2))
        low = max(low, 1) if high >= 1 else low
        item = node.items or Node(kind="string")
        return [self.fill(item, name, depth + 1) for _ in range(self._dice.between(low, high))]

    def _integer(self, node: Node, _name: str, _depth: int) -> int:
        low, high = _range(node, 100)
        return self._dice.between(int(low), int(high))

    def _number(self, node: Node, _name: str, _depth: int) -> float:
        low, high = _range(node, 1)
        value = round(low + (high - low) * self._dice.unit(), 2)
        inside = (low < value if node.open_low else low <= value) and (
            value < high if node.open_high else value <= high
        )
        return value if inside else low + (high - low) / 2

    def _string(self, node: Node, name: str, _depth: int) -> str:
        text = self._formatted(node.format) or self._named(name)
        if not text:
            text = self._sentence() if _SENTENCE_HINTS.search(node.hint) else self._phrase()
        low, high = int(node.low), node.high
        if len(text) > high:
            cut = text[: int(high)]
            whole = cut.rpartition(" ")[0].rstrip(" ,;:-")
            text = whole if len(whole) >= max(low, high / 2) else cut
        while len(text) < low:
            text = f"{text} {self._phrase()}"[: low if high < len(text) + 40 else None]
        return text if len(text) <= high else text[: int(high)]

    def _formatted(self, form: str) -> str:
        """Return a text of a known format; nothing for a format without rules of its own."""
        if form not in _FORMATS:
            return ""
        moment = _EPOCH + timedelta(seconds=self._dice.between(0, 300 * 86_400))
        return _FORMATS[form](moment)

    def _named(self, name: str) -> str:
        """Return what the prompt itself calls so: field ``summary`` and a line ``Summary: …``."""
        if not name:
            return ""
        label = re.escape(name.replace("_", " "))
        found = re.search(
            rf"(?im)^[\s*#-]*{label}[*]*\s*[:=]\s*(\S.{{0,300}})$", self._prompt.replace("_", " ")
        )
        return found[1].strip() if found else ""

    def _sentence(self) -> str:
        if self._sentences is None:
            found = [sentence.strip() for sentence in _SENTENCE.findall(self._prompt[:3000])]
            # Instructions tend to stand first and the matter after them.
            self._sentences = found[len(found) // 3 :] if len(found) > 3 else found
        if not self._sentences:
            return self._prompt.strip()[:200] or "No text was given."
        return self._dice.pick(self._sentences)

    def _phrase(self) -> str:
        if self._words is None:
            self._words = _WORD.findall(self._prompt[-1500:])
        if not self._words:
            return "value"
        return self._dice.pick(self._words)


def _range(node: Node, width: float) -> tuple[float, float]:
    low, high = node.low, node.high
    if math.isinf(low) and math.isinf(high):
        return 0, width
    if math.isinf(low):
        return high - width, high
    return low, low + width if math.isinf(high) else high
