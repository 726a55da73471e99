"""Names in order: walking a bucket's folder, wildcards, and the pages of a listing."""

from __future__ import annotations

import heapq
import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .names import is_object_name

_LAST = chr(0x10FFFF)


def walk(folder: Path, *, start: str = "", prefix: str = "") -> Iterator[str]:
    """Yield the names of all files under `folder` that are >= `start` and begin with `prefix`, sorted by code point.

    Only folders that can hold such names are opened, each when its turn comes. Links to folders are not followed.
    """
    yield from _walk(folder, "", max(start, prefix), prefix)


def _walk(folder: Path, base: str, start: str, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            # A folder sorts as all the names in it do: with its slash.
            found = sorted(
                (f"{base}{entry.name}/", False)
                if entry.is_dir(follow_symlinks=False)
                else (base + entry.name, True)
                for entry in entries
                if entry.is_dir(follow_symlinks=False) or entry.is_file()
            )
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, is_file in found:
        if is_file:
            if name >= start and name.startswith(prefix) and is_object_name(name):
                yield name
        elif (name > start or start.startswith(name)) and (
            name.startswith(prefix) or prefix.startswith(name)
        ):
            yield from _walk(folder / name[len(base) :], name, start, prefix)


def merged(*sources: Iterator[str]) -> Iterator[str]:
    """Merge sorted names into one order, each name once."""
    for name, _ in itertools.groupby(heapq.merge(*sources)):
        yield name


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Compile Cloud Storage's `matchGlob`: `*` and `?` stay within a folder, `**` does not, `[a-z]`, `{a,b}`."""
    out: list[str] = []
    depth, rest = 0, glob
    while rest:
        mark, rest = rest[0], rest[1:]
        if mark == "*" and rest.startswith("*"):
            rest = rest.lstrip("*")
            # `a/**/b` also means `a/b`.
            if rest.startswith("/") and (not out or out[-1] == "/"):
                rest = rest[1:]
                out.append("(?:.*/)?")
            else:
                out.append(".*")
        elif mark == "*":
            out.append("[^/]*")
        elif mark == "?":
            out.append("[^/]")
        elif mark == "[" and (end := rest.find("]", 1)) > 0:
            body = rest[:end].replace("\\", "\\\\").replace("[", "\\[")
            out.append("[^" + body[1:] + "]" if body[0] in "!^" else "[" + body + "]")
            rest = rest[end + 1 :]
        elif mark == "{":
            depth += 1
            out.append("(?:")
        elif mark == "}" and depth:
            depth -= 1
            out.append(")")
        elif mark == "," and depth:
            out.append("|")
        elif mark == "\\" and rest:
            out.append(re.escape(rest[0]))
            rest = rest[1:]
        else:
            out.append(re.escape(mark))
    return re.compile("".join(out) + ")" * depth, re.DOTALL)


def wildcard_pattern(pattern: str) -> re.Pattern[str]:
    """Compile the wildcard of BigQuery and Vertex AI URIs, where `*` crosses folders."""
    return re.compile(".*".join(re.escape(text) for text in pattern.split("*")), re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a listing asks for. `start` is inclusive, `end` exclusive; empty means no bound."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    glob: str = ""
    limit: int = 1000
    trailing_delimiter: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """Names and rolled-up prefixes of one answer; `next_start` is where the next page begins, None at the end."""

    names: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_start: str | None = None


def page(names_from: Callable[[str], Iterator[str]], query: Query) -> Page:
    """Make one page out of a sorted source of names that can start anywhere.

    After a rolled-up prefix the source is asked to start behind it, so a folder of a million objects costs one.
    """
    found = Page()
    wanted = glob_pattern(query.glob) if query.glob else None
    source = names_from(max(query.start, query.prefix))
    while (name := next(source, None)) is not None:
        if not name.startswith(query.prefix) or (query.end and name >= query.end):
            break
        if wanted is not None and not wanted.fullmatch(name):
            continue
        if len(found.names) + len(found.prefixes) >= query.limit:
            return Page(names=found.names, prefixes=found.prefixes, next_start=name)
        cut = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
        if cut < 0:
            found.names.append(name)
            continue
        rolled = name[: cut + len(query.delimiter)]
        found.prefixes.append(rolled)
        if query.trailing_delimiter and name == rolled:
            found.names.append(name)
        source = names_from(rolled + _LAST)
    return found
