"""Which files a URI means, on a store that anybody has: the local disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from airflow_batch_gemini.exceptions import SourceError
from airflow_batch_gemini.operators._listing import listed

if TYPE_CHECKING:
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

NOBODY = cast("WorkspaceHook", None)
"""Nothing lies on Cloud Storage here."""


def lay_out(folder: Path, *names: str) -> str:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return f"file://{folder}"


def names(root: str, *uris: str) -> list[str]:
    found = listed([f"{root}/{uri}" for uri in uris], NOBODY, None)
    return [file.uri.removeprefix(f"{root}/") for _, file in found]


def test_a_folder_means_every_data_file_below_it(tmp_path: Path) -> None:
    """By name; marks and temporary files of those who write it are none."""
    root = lay_out(
        tmp_path, "t/day=2/b.parquet", "t/day=1/a.parquet", "t/day=1/.a.parquet.crc", "t/_SUCCESS",
        "t/_temporary/0/c.parquet", "t/_year=1/d.parquet", "u/e.parquet",
    )  # fmt: skip
    assert names(root, "t/") == ["t/_year=1/d.parquet", "t/day=1/a.parquet", "t/day=2/b.parquet"]
    assert names(root, "t/day=*/") == ["t/day=1/a.parquet", "t/day=2/b.parquet"]


def test_only_what_lies_below_the_folder_can_be_hidden(tmp_path: Path) -> None:
    """Whoever names a hidden folder, also without a scheme, means it."""
    root = lay_out(tmp_path, "_old/.x/t/a.jsonl", "_old/.x/t/_b/c.jsonl")
    assert names(root, "_old/.x/t/") == ["_old/.x/t/a.jsonl"]
    [(_, file)] = listed([f"{tmp_path}/_old/.x/t/"], NOBODY, None)
    assert file.uri == f"{root}/_old/.x/t/a.jsonl"


def test_several_uris_are_read_in_their_order_and_a_file_once(tmp_path: Path) -> None:
    """Whoever means it first."""
    root = lay_out(tmp_path, "a.jsonl", "b.jsonl", "c.csv")
    assert names(root, "c.csv", "b.jsonl", "*.jsonl") == ["c.csv", "b.jsonl", "a.jsonl"]


def test_a_uri_that_means_nothing_is_told(tmp_path: Path) -> None:
    """Also one among several; a folder without its slash is thought of."""
    root = lay_out(tmp_path, "t/a.jsonl", "u/_SUCCESS")
    with pytest.raises(SourceError, match=r"There is no file \S+/t\. .*end it with /"):
        names(root, "t/a.jsonl", "t")
    for nothing in ("none/", "u/"):
        with pytest.raises(SourceError, match="There is no file"):
            names(root, nothing)


TABLES = {
    "Iceberg": "t/metadata/00000-1.metadata.json",
    "Delta Lake": "t/_delta_log/00000000000000000000.json",
    "Hudi": "t/.hoodie/hoodie.properties",
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_another_kind_is_refused_however_it_is_asked_for(tmp_path: Path, kind: str) -> None:
    """As a folder, by wildcards, or by its folder of data; a file by its own name is whoever's who names it."""
    root = lay_out(tmp_path, "t/data/day=1/a.parquet", "t/b.parquet", TABLES[kind])
    for uri in ("t/", "t/*.parquet", "t/**/*.parquet", "t/data/", "t/data/**/*.parquet"):
        with pytest.raises(SourceError, match=f"{kind} table"):
            names(root, uri)
    assert names(root, "t/b.parquet") == ["t/b.parquet"]
