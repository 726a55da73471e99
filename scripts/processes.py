"""Processes that are started, watched and stopped by their own ids."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

GRACE_SECONDS = 6.0
"""How long a stopped process may take before it and its children are killed."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """One started process. ``created`` tells it from a stranger that got the same number later."""

    name: str
    pid: int
    created: float
    log: str

    @classmethod
    def start(cls, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Process:
        """Start *command* in a session of its own; what it says goes to the end of *log*."""
        log.parent.mkdir(parents=True, exist_ok=True)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            command[0],
            list(command),
            dict(env),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        return cls(name=name, pid=pid, created=psutil.Process(pid).create_time(), log=str(log))

    @property
    def running(self) -> psutil.Process | None:
        """The process while it lives, else ``None``."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < 1
        except psutil.NoSuchProcess:
            return None
        return found if same and lives(found) else None

    def family(self) -> list[psutil.Process]:
        """Return what runs of the process and of all that descend from it: orphans too, by their session."""
        if self._is_taken():
            return []
        found = self.running
        family = [found, *_children(found)] if found else []
        return family + [
            other for other in psutil.process_iter() if self._left(other) and other not in family
        ]

    def _is_taken(self) -> bool:
        """Say whether a stranger has its number by now: then none of its session is left either."""
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.created) >= 1)
        except psutil.NoSuchProcess:
            return False

    def _left(self, other: psutil.Process) -> bool:
        """Say whether *other* belongs to the session that this process began."""
        try:
            return os.getsid(other.pid) == self.pid and other.create_time() >= self.created - 1
        except (OSError, psutil.NoSuchProcess):
            return False

    def pause(self) -> None:
        """Stop the clock for it and its family, the parents first: nobody of them is to notice."""
        for one in self.family():
            _tell(one, psutil.Process.suspend)

    def resume(self) -> None:
        """Let it and its family go on."""
        for one in reversed(self.family()):
            _tell(one, psutil.Process.resume)

    def kill(self) -> None:
        """End it and its family at once, as a machine that loses power would, and wait until they are gone."""
        _end(self.family(), psutil.Process.kill)

    def last_words(self, lines: int = 40) -> str:
        """Return the end of its log."""
        return tail(Path(self.log), lines)


def lives(process: psutil.Process) -> bool:
    """Say whether it runs; one that has ended and only waits for its parent to notice does not."""
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return bool(process.is_running())
        process.wait(timeout=0)  # if the parent is this process, it has noticed now
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass
    return False


def stop(processes: Sequence[Process]) -> None:
    """Stop all of them and everything they started, gently and then by force, and wait until they are gone."""
    mains = [found for process in processes if (found := process.running)]
    family = [one for process in processes for one in process.family()]
    for end in (psutil.Process.terminate, psutil.Process.kill):
        # The main processes first: they send their own children home.
        for group in (mains, family):
            _end(group, end)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _end(group: Sequence[psutil.Process], end: Callable[[psutil.Process], None]) -> None:
    for process in filter(lives, group):
        _tell(process, end)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(map(lives, group)) and time.monotonic() < deadline:
        time.sleep(0.1)


def _tell(process: psutil.Process, what: Callable[[psutil.Process], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        what(process)


def save(processes: Sequence[Process], path: Path) -> None:
    """Remember *processes* for a later :func:`load`."""
    path.write_text(json.dumps([asdict(process) for process in processes], indent=1))


def load(path: Path) -> list[Process]:
    """Return the processes saved at *path*; none when there is no such file."""
    return [Process(**saved) for saved in json.loads(path.read_text())] if path.exists() else []


def tail(path: Path, lines: int) -> str:
    """Return the last lines of a file."""
    return (
        "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else f"no {path}"
    )


def free_port(*, wish: int = 0) -> int:
    """Return *wish* or the next port after it that nobody listens on; without a wish any free one."""
    for port in range(wish, wish + 100) if wish else (0,):
        with socket.socket() as listener:
            # Without it a port that was in use a moment ago counts as taken.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise RuntimeError(f"No port from {wish} to {wish + 99} is free. Nothing was started.")


def wait_for(condition: Callable[[], bool], *, timeout: float, alive: Sequence[Process]) -> None:
    """Wait until *condition* holds; raise with the log of whoever died meanwhile, or when *timeout* is over."""
    deadline = time.monotonic() + timeout
    while not condition():
        for process in alive:
            if process.running is None:
                raise RuntimeError(f"{process.name} ended. Its last words:\n{process.last_words()}")
        if time.monotonic() > deadline:
            logs = "\n\n".join(f"== {process.name}\n{process.last_words(15)}" for process in alive)
            raise RuntimeError(f"Not ready after {timeout:g} s.\n{logs}")
        time.sleep(0.25)


def own_python() -> tuple[str, dict[str, str]]:
    """Return this interpreter and an environment in which its commands (``airflow``) are found first."""
    folder = str(Path(sys.executable).parent)
    return sys.executable, {**os.environ, "PATH": os.pathsep.join([folder, os.environ.get("PATH", "")])}
