"""Cut a GoogleSQL script into statements and spell every literal in one way.

GoogleSQL has eight string forms and a dozen escapes. The parser behind this module knows some of them, so each
literal is decoded here and written again in the one plain form that every parser reads alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

_LITERAL = re.compile(r"(?<![\w`])(?P<prefix>[rRbB]{0,2})(?P<quote>'''|\"\"\"|'|\")")
_SPECIAL = re.compile(
    r"--|#|/\*|`|;|\?|(?<![\w`])[rRbB]{0,2}(?:'''|\"\"\"|'|\")|['\"]",
)
_JSON_WORD = re.compile(r"(?<![\w`@.])json\s+$", re.IGNORECASE)
# The parser loses the query of ARRAY(SELECT ...)[OFFSET(0)]; under another name the call is like any other.
ARRAY_QUERY = "ARRAY_OF_QUERY"
_ARRAY_CALL = re.compile(
    r"(?P<literal>'(?:\\.|[^'\\])*'|`[^`]*`)|\bARRAY(?=\s*\()", re.IGNORECASE | re.DOTALL
)
_SIMPLE_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:([xX])([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: the text as written, and the text with plain literals for the parser."""

    source: str
    text: str
    line: int

    @property
    def words(self) -> list[str]:
        """The first words, in capitals, to tell the kind of the statement by."""
        return re.findall(r"[A-Za-z_]+", self.text.upper()[:200])[:4]


@dataclass(slots=True)
class _Cutter:
    script: str
    out: list[str] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    start: int = 0
    place: int = 0
    questions: int = 0

    def run(self) -> list[Statement]:
        while (found := _SPECIAL.search(self.script, self.place)) is not None:
            self.out.append(self.script[self.place : found.start()])
            self._special(found)
        self.out.append(self.script[self.place :])
        self._end(len(self.script))
        return self.statements

    def _special(self, found: re.Match[str]) -> None:
        mark, self.place = found.group(), found.end()
        if mark in {"--", "#"}:
            self._skip("\n", keep=True)
        elif mark == "/*":
            self._skip("*/", keep=False)
        elif mark == "`":
            end = self._find("`", "Unclosed identifier literal")
            self.out.append(self.script[found.start() : end + 1])
            self.place = end + 1
        elif mark == ";":
            self._end(found.start())
            self.start, self.out = found.end(), []
        elif mark == "?":
            self.out.append(f"@_position_{self.questions}")
            self.questions += 1
        else:
            self._string(found)

    def _find(self, what: str, complaint: str) -> int:
        end = self.script.find(what, self.place)
        if end < 0:
            raise invalid_query(f"Syntax error: {complaint} at {self._where(self.place - 1)}")
        return end

    def _skip(self, until: str, *, keep: bool) -> None:
        """Leave a comment out, but keep its line ends, so that places in messages stay right."""
        end = self.script.find(until, self.place)
        if end < 0 and not keep:
            raise invalid_query(f"Syntax error: Unclosed comment at {self._where(self.place - 2)}")
        end = len(self.script) if end < 0 else end
        self.out.append(" " + "\n" * self.script.count("\n", self.place, end))
        self.place = end if keep else end + len(until)

    def _string(self, found: re.Match[str]) -> None:
        shape = _LITERAL.match(self.script, found.start())
        if shape is None:
            raise invalid_query(f"Syntax error: Unexpected quote at {self._where(found.start())}")
        prefix, quote = shape["prefix"].lower(), shape["quote"]
        place = shape.end()
        while not self.script.startswith(quote, place):
            if place >= len(self.script) or (len(quote) == 1 and self.script[place] == "\n"):
                raise invalid_query(f"Syntax error: Unclosed string literal at {self._where(found.start())}")
            place += 2 if self.script[place] == "\\" else 1
        body = self.script[shape.end() : place]
        self.place = place + len(quote)
        if (prefix and set(prefix) - {"r", "b"}) or len(set(prefix)) != len(prefix):
            raise invalid_query(f"Syntax error: bad literal prefix at {self._where(found.start())}")
        plain = _plain(body, raw="r" in prefix, binary="b" in prefix)
        before = "".join(self.out[-1:])
        if (json := _JSON_WORD.search(before)) is not None:
            # A JSON literal is a call, so that `JSON '...'.field` reads like any other value.
            self.out[-1] = before[: json.start()]
            plain = f"PARSE_JSON({plain})"
        self.out.append(plain)

    def _end(self, end: int) -> None:
        text = _ARRAY_CALL.sub(lambda found: found[0] if found["literal"] else ARRAY_QUERY, "".join(self.out))
        if text.strip():
            source = self.script[self.start : end]
            lead = len(source) - len(source.lstrip())
            line = self.script.count("\n", 0, self.start + lead) + 1
            self.statements.append(Statement(source.strip(), text.strip(), line))

    def _where(self, place: int) -> str:
        line = self.script.count("\n", 0, place) + 1
        return f"[{line}:{place - self.script.rfind(chr(10), 0, place)}]"


def _plain(body: str, *, raw: bool, binary: bool) -> str:
    if binary:
        data = body.encode() if raw else _decode_bytes(body)
        return f"FROM_HEX('{data.hex()}')"
    return spell(body if raw else _ESCAPE.sub(_character, body))


def _character(escape: re.Match[str]) -> str:
    _, two, four, eight, octal, simple = escape.groups()
    if simple is not None:
        if simple not in _SIMPLE_ESCAPES:
            raise invalid_query(f"Syntax error: Illegal escape sequence: \\{simple}")
        return _SIMPLE_ESCAPES[simple]
    code = int(octal, 8) if octal else int(two or four or eight, 16)
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        raise invalid_query(f"Syntax error: Illegal escape sequence: {escape.group()}")
    return chr(code)


def _decode_bytes(body: str) -> bytes:
    parts, place = [], 0
    for escape in _ESCAPE.finditer(body):
        if escape.group(3) or escape.group(4):
            raise invalid_query("Syntax error: Unicode escape sequences are not allowed in bytes literals")
        parts += [body[place : escape.start()].encode(), bytes([ord(_character(escape)) & 255])]
        place = escape.end()
    return b"".join([*parts, body[place:].encode()])


def spell(text: str) -> str:
    """Write a string as the plain literal that the parser reads back unchanged."""
    if "\x00" in text:
        raise unsupported("a NUL character in a string literal")
    return (
        "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"
    )


def statements(script: str) -> list[Statement]:
    """Cut a script at its semicolons; comments are gone, literals plain, `?` named by its place."""
    return _Cutter(script).run()
