"""Lines of request files, as hostile as they may be, and what the linter says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st

from airflow_batch_gemini.batch import lint_file, lint_shape
from airflow_batch_gemini.batch.lint_lines import LineLinter

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
REQUEST = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("contents", "content", "tools", "generationConfig", "x", "$y"), JSON)
)
LINE = st.one_of(
    st.binary(max_size=40),
    JSON.map(lambda value: json.dumps(value).encode(errors="replace")),
    st.fixed_dictionaries({"request": REQUEST | JSON}, optional={"key": JSON, "status": JSON}).map(
        lambda value: json.dumps(value).encode()
    ),
)
"""Any line at all, many of them nearly requests."""

KEYED = b'{"key":"%s","request":{"contents":[{"role":"user","parts":[{"text":"%s"}]}],"z":"%s"}}'
ROLED = b'{"key":"%s","request":{"contents":[{"role":"%s","parts":[{"text":"%s"}]}]}}'
FIRST = [KEYED % (key, b"x", key) for key in (b"a", b"b")]

PIECES = st.sampled_from(
    [
        b"",
        b"x",
        b"\\u00e9",
        b"\\\\",
        b'\\"',
        b'","',
        b'"',
        b"\\",
        b"\n",
        b"\xff",
        b"7",
        b'"}]}],"z":"',
        b'\\","z":"',
        b'"}]}}',
    ]
)
ALMOST = st.lists(PIECES, max_size=2).map(b"".join)


@st.composite
def variants(draw: st.DrawFn) -> list[bytes]:
    """Lines that are nearly alike: the first of them make the frames that later ones fit, or almost."""
    form = draw(st.sampled_from([KEYED, ROLED]))
    first = [ROLED % (key, b"user", text) for key, text in ((b"a", b"x"), (b"b", b"y"))]
    texts = st.tuples(ALMOST, ALMOST, ALMOST)
    return [
        *(first if form is ROLED else FIRST),
        *(form % draw(texts) for _ in range(draw(st.integers(1, 4)))),
    ]


def told(given: Sequence[bytes], *, memory: bool = True) -> list[tuple[str, str]]:
    """Rule and row of each finding, with what lines have in common or without it."""
    linter, found = LineLinter(), []
    for one in given:
        if not memory:
            linter._file._shapes = lint_shape.Shapes(lint_file._is_read)
        found += [(finding.rule.id, finding.row) for finding in linter.take([one])]
    return found + [(finding.rule.id, finding.row) for finding in linter.finish()]
