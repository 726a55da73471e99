"""Media URIs and the types their names mean; wildcards in object names."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_gemini.batch.globs import fixed_prefix, glob_pattern, has_wildcard
from airflow_batch_gemini.batch.media import Media, is_media_uri, mime_type_of
from airflow_batch_gemini.exceptions import TemplateError


@pytest.mark.parametrize(
    ("uri", "good"),
    [
        ("gs://bucket/cat.jpeg", True),
        ("gs://bucket/a folder/é.png", True),
        ("https://example.com/cat.jpeg?x=1", True),
        ("https://www.youtube.com/watch?v=abc", True),
        ("gs://bucket", False),
        ("gs://bucket/", False),
        ("gs://Bucket/x.png", False),
        ("gs://bucket/a\nb.png", False),
        ("https://example.com/a b.png", False),
        ("http://example.com/cat.jpeg", False),
        ("s3://bucket/cat.jpeg", False),
        ("file:///etc/passwd", False),
        ("cat.jpeg", False),
        ("", False),
    ],
)
def test_gemini_is_pointed_to_cloud_storage_and_https_only(uri: str, good: bool) -> None:
    """Anything else would fail its row after the job has run."""
    assert is_media_uri(uri) is good


@pytest.mark.parametrize(
    ("uri", "mime_type"),
    [
        ("gs://b/animals.mp4", "video/mp4"),
        ("gs://b/cricket.JPEG", "image/jpeg"),
        ("gs://b/x.tar.pdf", "application/pdf"),
        ("https://h/x.png?size=1.jpg", "image/png"),
        ("https://h/x.mp3#t=10", "audio/mp3"),
        ("gs://b/noextension", None),
        ("gs://b/a.png/b", None),
        ("gs://b/x.exe", None),
    ],
)
def test_the_extension_tells_the_type(uri: str, mime_type: str | None) -> None:
    """Whatever its case, before a query or fragment; unknown ones are not guessed."""
    assert mime_type_of(uri) == mime_type


@pytest.mark.parametrize(
    "arguments",
    [
        {"column": ""},
        {"column": 3},
        {"column": "a", "mime_type": "jpeg"},
        {"column": "a", "mime_type": "a/b;c"},
    ],
)
def test_a_media_column_is_checked_when_it_is_made(arguments: Any) -> None:
    """Not when the first row comes."""
    with pytest.raises(TemplateError, match="Media"):
        Media(**arguments)


@pytest.mark.parametrize(
    ("pattern", "prefix", "matches", "others"),
    [
        ("rows/a.jsonl", "rows/a.jsonl", ["rows/a.jsonl"], ["rows/aXjsonl", "rows/a.jsonl2"]),
        ("rows/*.jsonl", "rows/", ["rows/a.jsonl", "rows/.jsonl"], ["rows/x/a.jsonl"]),
        ("rows/**/a?", "rows/", ["rows/ab", "rows/x/y/ac"], ["rows/a", "rowsab", "rows/xab"]),
        ("rows/**", "rows/", ["rows/a", "rows/a/b"], ["rows"]),
        ("[a]*", "[a]", ["[a]b"], ["ab"]),
    ],
)
def test_a_wildcard_means_what_it_means_on_every_object_store(
    pattern: str, prefix: str, matches: list[str], others: list[str]
) -> None:
    """A star stays within its segment, two of them cross segments."""
    wanted = glob_pattern(pattern)
    assert fixed_prefix(pattern) == prefix
    assert has_wildcard(pattern) == (prefix != pattern)
    assert [name for name in matches + others if wanted.fullmatch(name)] == matches
