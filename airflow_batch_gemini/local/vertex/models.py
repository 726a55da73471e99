"""The models this stand-in knows, and the names they go by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_batch_gemini.local.errors import invalid, not_found

WIDE = frozenset({"global", "us", "eu"})
LOCATION = re.compile(r"global|us|eu|[a-z]+-[a-z]+\d{1,2}")
_PROJECT = r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
_NAME = re.compile(rf"(?:{_PROJECT}/)?publishers/(?P<publisher>[^/]+)/models/(?P<model>[^/@]+)(?:@[^/]+)?")
_TUNED = re.compile(rf"{_PROJECT}/models/(?P<model>[^/@]+)(?:@[^/]+)?")


@dataclass(frozen=True, slots=True)
class Model:
    """One model: ``locations`` is None when every region serves it."""

    id: str
    locations: frozenset[str] | None = None

    @property
    def embeds(self) -> bool:
        """Say whether the model answers with vectors."""
        return "embedding" in self.id


_EVERYWHERE = (
    "gemini-2.0-flash", "gemini-2.0-flash-001", "gemini-2.0-flash-lite", "gemini-2.0-flash-lite-001",
    "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite",
    "gemini-3-flash-preview", "gemini-3.1-pro-preview", "gemini-3.1-flash-lite", "gemini-3.5-flash",
    "gemini-embedding-001", "gemini-embedding-2",
)  # fmt: skip
_WIDE_ONLY = ("gemini-3.5-flash-lite", "gemini-3.6-flash", "gemini-3.7-flash")
MODELS = {name: Model(name) for name in _EVERYWHERE} | {name: Model(name, WIDE) for name in _WIDE_ONLY}


def find_model(name: str, *, location: str, extra: str = "") -> Model:
    """Return the model a resource name means, in a location.

    :param extra: comma-separated ids or full names that exist as well.
    :raises CloudError: 400 for a name that is not one, 404 for a model nobody has, 400 for a model that
        this location does not serve.
    """
    match = _NAME.fullmatch(name) or _TUNED.fullmatch(name)
    if match is None:
        raise invalid(
            f"Invalid resource name: {name!r}. Expected publishers/PUBLISHER/models/MODEL or "
            "projects/PROJECT/locations/LOCATION/publishers/PUBLISHER/models/MODEL."
        )
    parts = match.groupdict()
    if parts["location"] not in (None, location):
        raise invalid(f"The model {name} is not in the location of the request, {location}.")
    known = {word.strip() for word in extra.split(",") if word.strip()}
    if name in known or parts["model"] in known:
        return Model(parts["model"])
    model = MODELS.get(parts["model"]) if parts.get("publisher") == "google" else None
    if model is None:
        raise not_found(f"The PublisherModel {parts['model']} does not exist.")
    if model.locations is not None and location not in model.locations:
        raise invalid(
            f"The PublisherModel {model.id} is not served in {location}; it is in "
            f"{', '.join(sorted(model.locations))}."
        )
    return model
