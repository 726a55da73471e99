"""What processes and the machine spend."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from waiting.cloud import Cloud
from waiting.figures import Spent


class Meter:
    """What is spent from its making until it is read."""

    def __init__(
        self, cloud: Cloud, *, runner: psutil.Process, supervisor: psutil.Process, server: psutil.Process
    ) -> None:
        self._cloud = cloud
        self._processes = {"runner": runner, "supervisor": supervisor, "cloud": server}
        self.at = time.time()
        self._before = self._counters()

    def read(self) -> Spent:
        """Return each counter by the second; of the machine what is left when these processes are taken away."""
        passed = time.time() - self.at
        rates = {name: (now - self._before[name]) / passed for name, now in self._counters().items()}
        rates["machine"] -= sum(rates[name] for name in self._processes)
        return Spent(**rates)

    def _counters(self) -> dict[str, float]:
        lists, gets = self._cloud.calls()
        return {
            **{name: cpu_seconds(process) for name, process in self._processes.items()},
            "machine": machine_seconds(),
            "starved": waited_for_core(self._processes["runner"]),
            "lists": lists,
            "gets": gets,
        }


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of one process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def machine_seconds() -> float:
    """Return the CPU seconds of the whole machine."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0) + getattr(times, "softirq", 0.0))


def waited_for_core(process: psutil.Process) -> float:
    """Return the seconds that a process could have run but had no core; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
