"""What the local cloud is started with."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from airflow_batch_gemini.local.knobs import Knobs


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything one local cloud is made of; ``data_dir`` holds all of its state.

    :param port: 0 takes a free port.
    :param bucket: created in ``location`` at start when given; the same goes for ``dataset``.
    :param seed: the same seed, the same requests: the same answers, faults and order of output lines.
    :param pace: how fast jobs go at first; see ``vertex.pace.Pace``.
    :param answers: where answers come from at first: ``echo``, ``schema`` or ``openai``.
    :param knobs: further knobs other than their defaults (see ``knobs.Knobs``).
    :param advertise: the base URL others use to reach it (``http://local-cloud:9090``), when that is
        not the address it listens on.
    :param allow_network: listen on an address that other machines can reach. There is no authentication.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    project: str = "demo"
    location: str = "us-central1"
    bucket: str | None = None
    dataset: str | None = None
    seed: int = 7
    pace: str = "immediate"
    answers: str = "schema"
    knobs: Mapping[str, object] = field(default_factory=dict)
    openai_base_url: str | None = None
    openai_model: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)
    openai_concurrency: int = 4
    advertise: str | None = None
    allow_network: bool = False

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.allow_network:
            raise ValueError(
                f"refusing to listen on {self.host}: other machines could reach a server that asks nobody for "
                "credentials. Give --allow-network if that is meant, as in a container network."
            )
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is not between 0 and 65535")
        if self.advertise is not None and not self.advertise.startswith(("http://", "https://")):
            raise ValueError(
                f"advertise takes a base URL such as http://local-cloud:9090, not {self.advertise!r}"
            )
        if self.first_knobs().answers == "openai" and not (self.openai_base_url and self.openai_model):
            raise ValueError("answers=openai needs the base URL and the model of an OpenAI-compatible server")

    def first_knobs(self) -> Knobs:
        """Return the knobs the local cloud starts with."""
        return Knobs().turned({"pace": self.pace, "answers": self.answers, **self.knobs})
