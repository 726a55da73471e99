"""What one local cloud has to itself: its data directory and its port."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO


class DataDirInUseError(RuntimeError):
    """Another local cloud works on this data directory."""


def claim_folder(path: Path) -> TextIO:
    """Take the lock file of a data directory; it is free again when the file is closed or the process ends.

    :raises DataDirInUseError: another process holds it.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise DataDirInUseError(
            f"another local cloud (process {holder or 'unknown'}) works on {path.parent}; stop it, or give another "
            "--data-dir"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def claim_port(host: str, port: int) -> socket.socket:
    """Listen on a port, 0 being any free one.

    :raises OSError: it is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Calls that come before the server runs wait in the queue.
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def in_url(host: str) -> str:
    """Write a host as URLs do."""
    return f"[{host}]" if ":" in host else host
