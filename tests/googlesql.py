"""Google's own GoogleSQL, compiled once a machine: from nothing it takes half a minute in every process."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def load() -> None:
    """Let the next use of ``zetasql`` in this process keep, or find, its compiled code in the user's cache folder."""
    import wasmtime
    from zetasql.core import wasm_client

    def config(*args: Any) -> wasmtime.Config:
        made = wasmtime.Config(*args)
        made.cache = True
        return made

    wasm_client.Config = config
