"""What XCom carries of a batch: a handful of names and counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from airflow_batch_gemini.batch.names import GcsUri
from airflow_batch_gemini.exceptions import SourceError


@dataclass(frozen=True, kw_only=True)
class BatchRef:
    """A batch, or one part of it, as it travels through XCom: names and counts only."""

    batch_id: str
    workspace: str
    rows: int
    size: int
    parts: int
    part: int | None = None
    """The part that is meant; ``None``: all of them."""
    usd_low: float | None = None
    """What the whole batch will cost at least, in USD; ``None``: nobody knows."""
    usd_expected: float | None = None
    usd_high: float | None = None
    canary_rows: int = 0
    """Rows that a canary had answered before."""
    canary_failures: int = 0
    """How many of those did not succeed."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain dict that XCom keeps."""
        return asdict(self)

    @classmethod
    def from_xcom(cls, value: object) -> BatchRef:
        """Read what :class:`GeminiBatchPrepareOperator` returned, or one element of it: a single part."""
        if isinstance(value, Mapping):
            refs = [cls._from_dict(value)]
        elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
            refs = [replace(cls._from_dict(one), part=None) for one in value]
        else:
            refs = []
        if len(set(refs)) != 1:
            raise SourceError(
                f"batch= wants what GeminiBatchPrepareOperator returned, not {_shape(value)}. Nothing was sent."
            )
        return refs[0]

    @classmethod
    def _from_dict(cls, value: object) -> BatchRef:
        try:
            return cls(**value)  # type: ignore[arg-type]  # a wrong shape is the error told below
        except TypeError as error:
            raise SourceError(
                f"batch= wants what GeminiBatchPrepareOperator returned, not {_shape(value)}. Nothing was sent."
            ) from error

    @property
    def indexes(self) -> range:
        """The parts that are meant."""
        return range(self.parts) if self.part is None else range(self.part, self.part + 1)

    @property
    def folder(self) -> GcsUri:
        """The workspace as a parsed URI."""
        return GcsUri.parse(self.workspace)


def _shape(value: object) -> str:
    return f"a {type(value).__name__}"
