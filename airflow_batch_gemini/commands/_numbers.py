"""Numbers as arguments of the commands; argparse refuses what none of them takes, with its usage and status 2."""

from __future__ import annotations

import argparse
import math
from decimal import Decimal, InvalidOperation

_MOST_DAYS = 36_500


def usd(text: str) -> Decimal:
    """Read a sum in USD."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def days(text: str) -> int:
    """Read a number of days back from now."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days from 1 to {_MOST_DAYS}")
    return int(text)


def minutes(text: str) -> float:
    """Read a number of minutes; what is no number would leave out every job."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes, 0 or more")
    return found
