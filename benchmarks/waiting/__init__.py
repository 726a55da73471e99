"""The parts of the triggerer benchmark. They start and stop processes as the demo does."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from processes import Process, own_python, stop  # found by the line above

__all__ = ["Process", "own_python", "stop"]
