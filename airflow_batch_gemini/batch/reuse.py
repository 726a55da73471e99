"""Requests that need not be sent: those another row of the batch sends, and those an earlier batch has answered.

A request is known by its fingerprint: a hash over the model and the bytes that would be sent, the key left out.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256

from airflow_batch_gemini.batch.names import model_id
from airflow_batch_gemini.batch.request import WIRE_KEY_PREFIX

FINGERPRINT_BYTES = 16
_LINE_KEY = re.compile(rb'\{"key":"' + WIRE_KEY_PREFIX.encode() + rb'((?:[^"\\]|\\.)*)"')
ROW_BYTES = 10


class RowSet:
    """A set of 80-bit numbers in some twenty bytes each, fewer where there are millions of them."""

    def __init__(self) -> None:
        self._buckets: dict[int, array[int]] = {}

    def add(self, number: int) -> bool:
        """Put *number* in; return whether it is new."""
        value = number & 0xFFFFFFFFFFFFFFFF
        bucket = self._buckets.get(number >> 64)
        if bucket is None:
            self._buckets[number >> 64] = array("Q", [value])
            return True
        place = bisect_left(bucket, value)
        if place < len(bucket) and bucket[place] == value:
            return False
        bucket.insert(place, value)
        return True

    def __contains__(self, number: int) -> bool:
        bucket, value = self._buckets.get(number >> 64, ()), number & 0xFFFFFFFFFFFFFFFF
        place = bisect_left(bucket, value)
        return place < len(bucket) and bucket[place] == value


def row_number(key: str, fingerprint: str) -> int:
    """Return what a row with its request is remembered by; ``sql.reuse`` reckons the same."""
    digest = sha256(f"{key}\n{fingerprint}".encode()).digest()
    return int.from_bytes(digest[:ROW_BYTES])


def key_number(key: str) -> int:
    """Return what a key alone is remembered by."""
    return int.from_bytes(blake2b(key.encode(errors="surrogatepass"), digest_size=ROW_BYTES).digest())


@dataclass(frozen=True)
class Sifted:
    """Lines to send, a line for each copy, and where among the given ones those stood that are not sent."""

    lines: Sequence[bytes]
    copies: Sequence[bytes]
    unsent: Sequence[int]

    @property
    def answered(self) -> int:
        """How many have an answer already."""
        return len(self.unsent) - len(self.copies)


@dataclass(kw_only=True)
class Sieve:
    """Sifts the request lines of a batch, in their order: the first of equal requests is sent.

    :param model: what the job asks; a fingerprint is of one model.
    :param dedupe: hold back requests that came before.
    :param answered: rows whose answer is there, by :func:`row_number`; ``None``: send them anew.
    """

    model: str
    dedupe: bool
    answered: RowSet | None
    _sent: RowSet = field(default_factory=RowSet, init=False)

    def sift(self, keys: Iterable[str], lines: Iterable[bytes]) -> Sifted:
        """Return what becomes of some lines, whose keys are *keys*."""
        send: list[bytes] = []
        copies: list[bytes] = []
        unsent: list[int] = []
        salt = model_id(self.model).encode() + b"\n"
        for place, (key, line) in enumerate(zip(keys, lines, strict=True)):
            head, request = split_line(line)
            digest = blake2b(salt + request, digest_size=FINGERPRINT_BYTES)
            fingerprint = digest.hexdigest()
            if self.answered is not None and row_number(key, fingerprint) in self.answered:
                unsent.append(place)
                continue
            marked = b'%s,"fingerprint":"%s"' % (head, fingerprint.encode())
            if self.dedupe and not self._sent.add(int.from_bytes(digest.digest()[:ROW_BYTES])):
                copies.append(marked + b"}\n")
                unsent.append(place)
            else:
                send.append(marked + request)
        return Sifted(send, copies, unsent)


def split_line(line: bytes) -> tuple[bytes, bytes]:
    """Take a request line apart behind its key."""
    match = _LINE_KEY.match(line)
    if match is None:
        raise ValueError("not a request line")
    return line[: match.end()], line[match.end() :]
