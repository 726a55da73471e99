"""What a create call may say: the body of a batch prediction job, read and checked at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_batch_gemini.local.errors import invalid
from airflow_batch_gemini.local.vertex.casing import camel
from airflow_batch_gemini.local.vertex.models import LOCATION, Model, find_model
from airflow_batch_gemini.local.vertex.records import Place

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_GCS = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<object>[^\r\n]*))?")
_TABLE = re.compile(
    r"bq://(?P<project>[a-z0-9:.-]+?)\.(?P<dataset>\w{1,1024})\.(?P<table>[\w $-]{1,1024})", re.ASCII
)
_DATASET = re.compile(r"bq://(?P<project>[a-z0-9:.-]+?)\.(?P<dataset>\w{1,1024})", re.ASCII)
_PROJECT_ONLY = re.compile(r"bq://[a-z][a-z0-9-]{4,28}[a-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A create call that passed the checks."""

    display_name: str
    model_name: str
    model: Model
    source: Place
    destination: Place
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class TableName:
    """A BigQuery table; ``table`` is None when only a dataset was given."""

    project: str
    dataset: str
    table: str | None


def read_wish(body: Any, *, location: str, extra_models: str = "") -> Wish:
    """Check a create call as far as the service does before it accepts the job.

    Whether buckets, files, datasets and tables exist is found out later, by the job.

    :raises CloudError: 400 for what is malformed, 404 for a model that does not exist.
    """
    if not LOCATION.fullmatch(location):
        raise invalid(f"Unsupported location: {location!r}.")
    if not isinstance(body, Mapping):
        raise invalid("The request body is not a JSON object.")
    fields = {camel(str(key)): value for key, value in body.items()}
    display_name = fields.get("displayName")
    if not isinstance(display_name, str) or not 1 <= len(display_name) <= 128:
        raise invalid("display_name is required and has at most 128 characters.")
    model_name = fields.get("model")
    if not isinstance(model_name, str) or not model_name:
        raise invalid("model is required.")
    model = find_model(model_name, location=location, extra=extra_models)
    source = _source(fields.get("inputConfig"))
    if model.embeds and source.kind == "bigquery":
        raise invalid(f"The PublisherModel {model.id} takes its input from Cloud Storage only.")
    return Wish(
        display_name=display_name,
        model_name=model_name,
        model=model,
        source=source,
        destination=_destination(fields.get("outputConfig")),
        labels=_labels(fields.get("labels")),
    )


def split_gcs(uri: str) -> tuple[str, str]:
    """Return bucket and object (or prefix) of a ``gs://`` URI; raise 400 when it is not one."""
    match = _GCS.fullmatch(uri)
    if match is None:
        raise invalid(f"Invalid Google Cloud Storage URI: {uri!r}.")
    return match["bucket"], match["object"] or ""


def split_table(uri: str) -> TableName:
    """Return project, dataset and table of a ``bq://`` URI; raise 400 when it is not one."""
    match = _TABLE.fullmatch(uri)
    if match:
        return TableName(match["project"], match["dataset"], match["table"])
    match = _DATASET.fullmatch(uri)
    if match is None or _PROJECT_ONLY.fullmatch(uri):
        raise invalid(f"Invalid BigQuery URI: {uri!r}. Expected bq://PROJECT.DATASET.TABLE.")
    return TableName(match["project"], match["dataset"], None)


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise invalid(f"{name} is required.")
    return {camel(str(key)): item for key, item in value.items()}


def _source(config: Any) -> Place:
    fields = _mapping(config, "input_config")
    # One page of Google's documentation wraps the source once more.
    if isinstance(fields.get("inputSource"), Mapping):
        fields |= _mapping(fields["inputSource"], "input_source")
    _only_one(fields, "gcsSource", "bigquerySource", "input_config")
    if "gcsSource" in fields:
        _format(fields.get("instancesFormat"), "jsonl", "instances_format")
        uris = _mapping(fields["gcsSource"], "gcs_source").get("uris")
        uris = [uris] if isinstance(uris, str) else uris
        if not isinstance(uris, list) or not uris or not all(isinstance(uri, str) for uri in uris):
            raise invalid("input_config.gcs_source.uris is required.")
        if not all(split_gcs(uri)[1] for uri in uris):
            raise invalid("input_config.gcs_source.uris names a bucket, not an object.")
        return Place(kind="gcs", uris=tuple(uris))
    _format(fields.get("instancesFormat"), "bigquery", "instances_format")
    uri = _text(
        _mapping(fields["bigquerySource"], "bigquery_source").get("inputUri"), "bigquery_source.input_uri"
    )
    if split_table(uri).table is None:
        raise invalid(f"Invalid BigQuery URI: {uri!r}. Expected bq://PROJECT.DATASET.TABLE.")
    return Place(kind="bigquery", uris=(uri,))


def _destination(config: Any) -> Place:
    fields = _mapping(config, "output_config")
    _only_one(fields, "gcsDestination", "bigqueryDestination", "output_config")
    if "gcsDestination" in fields:
        _format(fields.get("predictionsFormat"), "jsonl", "predictions_format")
        prefix = _mapping(fields["gcsDestination"], "gcs_destination").get("outputUriPrefix")
        uri = _text(prefix, "gcs_destination.output_uri_prefix")
        split_gcs(uri)
        return Place(kind="gcs", uris=(uri,))
    _format(fields.get("predictionsFormat"), "bigquery", "predictions_format")
    target = _mapping(fields["bigqueryDestination"], "bigquery_destination").get("outputUri")
    uri = _text(target, "bigquery_destination.output_uri")
    split_table(uri)
    return Place(kind="bigquery", uris=(uri,))


def _only_one(fields: Mapping[str, Any], one: str, other: str, name: str) -> None:
    if (one in fields) == (other in fields):
        raise invalid(f"{name} takes exactly one of {one} and {other}.")


def _format(value: Any, expected: str, name: str) -> None:
    if value != expected:
        raise invalid(f"{name} must be {expected!r} here, not {value!r}.")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise invalid(f"{name} is required.")
    return value


def _labels(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > 64:
        raise invalid("labels is a map of at most 64 labels.")
    for key, label in value.items():
        if not _LABEL_KEY.fullmatch(key) or not isinstance(label, str) or not _LABEL_VALUE.fullmatch(label):
            raise invalid(
                f"Invalid label {key!r}: {label!r}. Keys and values have at most 63 characters of lowercase letters, "
                "digits, underscores and dashes; a key starts with a letter."
            )
    return dict(value)
