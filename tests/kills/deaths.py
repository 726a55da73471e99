"""How a process dies at a named step, without a word of it in the package.

:func:`install` wraps, in the process that is to die, every method of the hooks that looks at the world or changes it.
Each call is a *step* with a name that says what for (``POST``, ``write ledger INTENT``, ``start publish``) and two
moments, ``before`` it and ``after`` it: after it the world has changed and nobody has used the answer yet.

The environment variable ``KILL_ORDERS`` names a folder. An order is a JSON file there (:func:`give`); the first process
that comes by a moment it fits takes it, atomically and alone, and does to itself what it says. ``journal.jsonl`` in the
same folder tells every moment that every process came by (:func:`journal`).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

VARIABLE = "KILL_ORDERS"
When = Literal["before", "after"]
How = Literal["SIGKILL", "SIGSTOP", "SIGTERM"]
"""``SIGSTOP``: a zombie, until somebody sends SIGCONT. ``SIGTERM``: ``on_kill`` is called and ``execute`` goes on."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Who is to die where. ``step``, ``when``, ``task`` and ``run`` may be or hold wildcards."""

    step: str = "*"
    when: When | Literal["*"] = "*"
    how: How = "SIGKILL"
    nth: int = 1
    """Which of the moments of this name in the life of one process; 0 means any."""
    count: int = 0
    """Which of all its moments; 0 means any."""
    task: str = "*"
    run: str = "*"
    attempt: int = 0
    """``try_number``; 0 means any."""
    whole: bool = False
    """The parent gets the signal first: under Airflow the supervisor, which would go on sending heartbeats."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One moment that one process came by, and what it did to itself there."""

    step: str
    when: When
    nth: int
    count: int
    task: str
    run: str
    attempt: int
    pid: int
    parent: int
    time: float
    did: How | None = None
    error: str | None = None
    """What the call raised; ``after`` it only."""

    @property
    def name(self) -> str:
        """The step's name and the moment, for tables and messages."""
        return f"{self.when} {self.step}" + (f" #{self.nth}" if self.nth > 1 else "")


def give(folder: Path, order: Order) -> Path:
    """Put an order into *folder*, whole or not at all."""
    name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
    draft = folder / f"{name}.draft"
    draft.write_text(json.dumps(asdict(order)))
    return draft.rename(folder / f"{name}.json")


def open_orders(folder: Path) -> list[Order]:
    """Return the orders that nobody has taken."""
    return [Order(**json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def journal(folder: Path) -> list[Moment]:
    """Return what happened so far, in the order it happened."""
    path = folder / "journal.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Moment(**json.loads(line)) for line in lines]


def deaths(folder: Path) -> list[Moment]:
    """Return the moments at which a process did something to itself."""
    return [moment for moment in journal(folder) if moment.did]


def install() -> bool:
    """Wrap the hooks in this process; ``False``, and nothing is wrapped, where ``KILL_ORDERS`` is not set.

    Again in the same process it only starts counting anew.
    """
    _passed.clear()
    if VARIABLE not in os.environ:
        return False
    for hook, methods in hooks().items():
        for method, name_of in methods.items():
            _wrap(hook, method, name_of)
    return True


def pass_by(step: str, when: When, *, error: BaseException | None = None) -> None:
    """Note the moment in the journal, and obey the order for it if there is one."""
    _passed[step, when] += 1
    moment = replace(_moment(step, when), error=None if error is None else type(error).__name__)
    order = _take(moment)
    _note(moment if order is None else replace(moment, did=order.how))
    if order is None:
        return
    kind = signal.Signals[order.how]
    if order.whole:
        os.kill(os.getppid(), kind)
    if kind is signal.SIGTERM:
        signal.raise_signal(kind)
    else:
        os.kill(os.getpid(), kind)


# --------------------------------------------------------------------------------------------------- orders and journal

_passed: Counter[tuple[str, str]] = Counter()
_inside: ContextVar[bool] = ContextVar("inside a step", default=False)
"""A step that takes other steps is one step."""


def _folder() -> Path:
    return Path(os.environ[VARIABLE])


def _moment(step: str, when: When) -> Moment:
    from airflow.sdk import get_current_context

    ti: Any = None
    with suppress(Exception):  # nobody's task: a triggerer, or a test that runs no task
        ti = get_current_context()["ti"]
    return Moment(
        step=step,
        when=when,
        nth=_passed[step, when],
        count=_passed.total(),
        task=getattr(ti, "task_id", ""),
        run=getattr(ti, "run_id", ""),
        attempt=getattr(ti, "try_number", 0),
        pid=os.getpid(),
        parent=os.getppid(),
        time=time.time(),
    )


def _fits(order: Order, moment: Moment) -> bool:
    return (
        order.when in {"*", moment.when}
        and order.nth in {0, moment.nth}
        and order.count in {0, moment.count}
        and order.attempt in {0, moment.attempt}
        and fnmatchcase(moment.step, order.step)
        and fnmatchcase(moment.task, order.task)
        and fnmatchcase(moment.run, order.run)
    )


def _take(moment: Moment) -> Order | None:
    for path in sorted(_folder().glob("*.json")):
        try:
            order = Order(**json.loads(path.read_text()))
            if _fits(order, moment):
                path.rename(path.with_suffix(".taken"))
                return order
        except FileNotFoundError:
            continue  # another process was first
    return None


def _note(moment: Moment) -> None:
    line = json.dumps(asdict(moment)).encode() + b"\n"
    journal = os.open(_folder() / "journal.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(journal, line)
    finally:
        os.close(journal)


# ------------------------------------------------------------------------------------------------------------ wrapping

Arguments = Mapping[str, Any]


@contextmanager
def _step(name: str) -> Iterator[None]:
    if _inside.get():
        yield
        return
    token = _inside.set(True)
    try:
        pass_by(name, "before")
        try:
            yield
        except BaseException as error:
            pass_by(name, "after", error=error)
            raise
        pass_by(name, "after")
    finally:
        _inside.reset(token)


def _wrap(hook: type, method: str, name_of: Callable[[Arguments], str]) -> None:
    real = getattr(hook, method)
    if hasattr(real, "is_a_step"):
        return
    signature = inspect.signature(real)

    def name(args: Any, kwargs: Any) -> str:
        return name_of(signature.bind(*args, **kwargs).arguments)

    if asyncio.iscoroutinefunction(real):

        @functools.wraps(real)
        async def step(*args: Any, **kwargs: Any) -> Any:
            with _step(name(args, kwargs)):
                return await real(*args, **kwargs)

    elif inspect.isgeneratorfunction(inspect.unwrap(real)) and real is inspect.unwrap(real):

        @functools.wraps(real)
        def step(*args: Any, **kwargs: Any) -> Any:
            with _step(name(args, kwargs)):
                return iter([*real(*args, **kwargs)])

    elif inspect.isgeneratorfunction(inspect.unwrap(real)):  # a context manager

        @functools.wraps(real)
        @contextmanager
        def step(*args: Any, **kwargs: Any) -> Any:
            with _step(name(args, kwargs)), real(*args, **kwargs) as value:
                yield value

    else:

        @functools.wraps(real)
        def step(*args: Any, **kwargs: Any) -> Any:
            with _step(name(args, kwargs)):
                return real(*args, **kwargs)

    step.is_a_step = True  # type: ignore[attr-defined]
    setattr(hook, method, step)


# ----------------------------------------------------------------------------------------------------------- the names

_PLACES = (
    ("manifest", r"/manifest\.json"),
    ("report", r"/report\.json"),
    ("ledger", r"/ledger/part-\d+\.json"),
    ("clock", r"/ledger/part-\d+\.clock"),
    ("claim", r"/preparing\.json"),
    ("inputs", r"/input"),
    ("input", r"/input/part-\d+/[^/]+"),
    ("requests", r"/requests(/part-\d+\.jsonl)?"),
    ("predictions", r"/predictions/part-\d+(/.*)?"),
)
_JOB = re.compile(r"gemini_(?P<purpose>[a-z_]+)_[0-9a-f]{32}_[0-9]+")
_TABLE = re.compile(r"gemini_(?P<kind>requests|input|predictions|landing|outcomes)_")


def _place(uri: object) -> str:
    found = (name for name, pattern in _PLACES if re.search(f"{pattern}$", str(uri)))
    return next(found, "object")


def _on(verb: str, argument: str = "uri") -> Callable[[Arguments], str]:
    return lambda given: f"{verb} {_place(given[argument])}"


def _write(given: Arguments) -> str:
    place = _place(given["uri"])
    return f"write {place} {json.loads(given['data'])['state']}" if place == "ledger" else f"write {place}"


def _purpose(verb: str) -> Callable[[Arguments], str]:
    def name(given: Arguments) -> str:
        found = _JOB.fullmatch(given["job"].job_id)
        return f"{verb} job {found['purpose'] if found else 'query'}"

    return name


def _table(verb: str) -> Callable[[Arguments], str]:
    def name(given: Arguments) -> str:
        found = _TABLE.match(given["table"].table)
        return f"{verb} {found['kind'] if found else 'target'} table"

    return name


def _plain(name: str) -> Callable[[Arguments], str]:
    return lambda _given: name


def hooks() -> dict[type, dict[str, Callable[[Arguments], str]]]:
    """Return hook → method → what a call of it is called."""
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
    from airflow_batch_gemini.hooks.warehouse import WarehouseHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

    return {
        WorkspaceHook: {
            "read": _on("read"),
            "stat": _on("look at"),
            "write": _write,
            "writer": _on("stream"),
            "copy": _on("copy", "target"),
            "delete": _on("delete"),
            "list": _on("list", "folder"),
        },
        GeminiBatchHook: {
            "create": _plain("POST"),
            "get": _plain("get job"),
            "list": _plain("list jobs"),
            "cancel": _plain("cancel job"),
            "aget": _plain("get job in triggerer"),
            "alist": _plain("list jobs in triggerer"),
            "acancel": _plain("cancel job in triggerer"),
        },
        WarehouseHook: {
            "_insert": _purpose("start"),
            "_attach": _purpose("attach to"),
            "look": _purpose("look at"),
            "job_rows": _purpose("read rows of"),
            "query_rows": _plain("query"),
            "dataset_location": _plain("look at dataset"),
            "table_info": _table("look at"),
            "expire_table": _table("expire"),
        },
    }
