"""A whole file before the importer: what earlier requests are decides about later ones."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from line_cases import FIRST, KEYED, LINE, REQUEST, ROLED, told, variants
from request_corpus import GOOGLES_OWN, PLAIN, USER, importer_traps, requests

from airflow_batch_gemini.batch import lint, lint_file, lint_shape
from airflow_batch_gemini.batch.lint_file import FileLinter
from airflow_batch_gemini.batch.lint_lines import LineLinter
from airflow_batch_gemini.batch.lint_request import lint_request
from airflow_batch_gemini.batch.models import lint_model

CORPUS, TRAPS = requests(), list(importer_traps())


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def found(*given: Any, linter: FileLinter | None = None) -> list[list[str]]:
    """The rules that each request breaks, in one file."""
    judge = linter or FileLinter()
    return [[one.rule.id for one in judge.findings(dumped(request), request)] for request in given]


@pytest.mark.parametrize(("rule", "_what", "file"), TRAPS, ids=[what for _, what, _ in TRAPS])
def test_what_fails_a_whole_job_is_found_in_the_request_that_does_it(
    rule: str, _what: str, file: list[Any]
) -> None:
    """The later one of two that do not go together."""
    *before, last = found(*file)
    assert rule in last
    assert [rules for rules in before if rules] == []


def test_no_request_that_vertex_ai_takes_raises_a_false_alarm() -> None:
    """Each in a file of its own."""
    assert len(CORPUS) > 300
    assert {name: rules for name, request in CORPUS.items() for rules in found(request) if rules} == {}


def test_a_line_of_a_known_skeleton_is_not_walked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts and numbers may differ, as may escapes in texts; what a rule reads may not."""
    linter = FileLinter()
    assert found({**PLAIN, "x": 1}, linter=linter) == [[]]
    monkeypatch.setattr(lint_file, "lint_request", None)
    for text in ('"', "\\", '\\"', ":", '{"role":"x"}', "\\u0022", "é"):
        request = {"contents": [{"role": "user", "parts": [{"text": text}]}], "x": 7}
        assert found(request, linter=linter) == [[]]


@pytest.mark.parametrize("role", ["system", "", "User", 'a"b', ["user"], {"user": 1}, 1])
def test_a_role_is_read_in_every_line(role: Any) -> None:
    """It is a text that a rule reads."""
    wrong = {"contents": [{"role": role, "parts": [{"text": "x"}]}]}
    rules = found(PLAIN, wrong, PLAIN, wrong)
    assert [bool(one) for one in rules] == [False, True, False, True]
    assert "GB107" in rules[1]


def test_a_request_that_is_refused_says_nothing_about_the_others() -> None:
    """It is left out, and what it says of its paths with it."""
    wrong = {"contents": [USER], "x": {"a": 1}, "$y": 1}
    assert found(wrong, {**PLAIN, "x": 1}, {**PLAIN, "x": {"a": 1}}) == [["GB101"], [], ["GB111"]]


def test_a_null_is_fine_where_a_scalar_may_stand() -> None:
    """Before and after one; a template has no reason to send it."""
    null = {**PLAIN, "generationConfig": {"temperature": None}}
    assert found(null, {**PLAIN, "generationConfig": {"temperature": 1}}, null) == [[], [], []]
    assert [one.rule.id for one in lint_request(null, importer=True)] == ["GB104"]


def test_an_empty_list_goes_with_any_list() -> None:
    """Its members have no shape yet."""
    empty, full = {**PLAIN, "x": []}, {**PLAIN, "x": [{"a": 1}]}
    assert found(empty, full, empty) == [[], [], []]
    assert found(full, empty, {**PLAIN, "x": ["a"]}) == [[], [], ["GB111"]]


def test_an_empty_list_is_no_place_for_a_null_either() -> None:
    """A list is never NULL, whichever of the two comes first."""
    null, empty = {**PLAIN, "x": None}, {**PLAIN, "x": []}
    assert found(null, empty) == [[], ["GB104"]]
    assert found(empty, null) == [[], ["GB104"]]


def test_both_spellings_and_two_schemas_in_one_file_are_warned_of() -> None:
    """They may be meant."""
    camel = {**PLAIN, "generationConfig": {"topP": 1}}
    assert found(camel, {**PLAIN, "generation_config": {"top_p": 1}})[1] == ["GB112", "GB112"]
    snake = {**PLAIN, "generation_config": {"top_p": 1}}
    assert found(camel, snake, snake, snake)[1:] == [["GB112", "GB112"], [], []]
    schemas = [
        {**PLAIN, "generationConfig": {"responseSchema": {"type": one}}} for one in ("STRING", "OBJECT")
    ]
    several = [schemas[0], schemas[1], schemas[0], schemas[1]]
    assert found(*several) == [[], ["GB113"], [], ["GB113"]]
    assert {lint.RULES[rule].severity for rule in ("GB112", "GB113")} == {"warning"}


def test_a_schema_that_differs_in_a_number_is_another_one() -> None:
    """Where lines are otherwise alike, and after one of them is known."""

    def limited(most: int) -> dict[str, Any]:
        schema = {"type": "ARRAY", "items": {"type": "STRING"}, "maxItems": most}
        return PLAIN | {"generationConfig": {"responseSchema": schema, "topK": most}}

    assert found(limited(3), limited(4), limited(3), limited(4)) == [[], ["GB113"], [], ["GB113"]]


def test_rag_and_cached_content_are_refused() -> None:
    """Batches have neither."""
    store = {"ragResources": [{"ragCorpus": "c"}]}
    assert found({**PLAIN, "tools": [{"retrieval": {"vertexRagStore": store}}]}) == [["GB114"]]
    assert found({**PLAIN, "tools": [{"retrieval": {"vertex_rag_store": store}}]}) == [["GB114"]]
    assert found({**PLAIN, "cachedContent": "c"}) == [["GB105"]]


def test_a_null_asks_for_nothing() -> None:
    """The request that a job repeats in its output has nulls for what it did not say."""
    null = {**PLAIN, "cachedContent": None, "tools": [{"retrieval": {"vertexRagStore": None}}]}
    asked = {**PLAIN, "cachedContent": "x"}
    assert found(null, asked, null) == [[], ["GB105"], []]


def test_names_that_vary_without_end_are_refused_and_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table has ten thousand columns; the memory of a linter is bounded too."""
    monkeypatch.setattr(lint_file, "MAX_PATHS", 20)
    monkeypatch.setattr(lint_shape, "MAX_BYTES", 400)
    linter = FileLinter()
    rules = found(*({**PLAIN, f"x{i}": 1} for i in range(40)), linter=linter)
    assert rules[0] == []
    assert rules[-1] == ["GB115"]
    assert len(linter._walk.shapes) <= 20
    assert 0 <= linter._shapes._room < 100
    assert len(linter._shapes._structures) <= 8


def test_in_a_table_nothing_is_imported() -> None:
    """Only what a request is by itself counts there."""
    linter = FileLinter(importer=False)
    assert found({**PLAIN, "$x": {}}, {"contents": []}, linter=linter) == [[], ["GB106"]]


# ------------------------------------------------------------------------------------------------------ lines


def lines(*given: bytes) -> list[tuple[str, str]]:
    """Rule and row of each finding, those of the whole file last."""
    linter = LineLinter()
    return [(one.rule.id, one.row) for one in [*linter.take(given), *linter.finish()]]


def line(key: Any = "k", request: Any = GOOGLES_OWN, **beside: Any) -> bytes:
    return dumped({"key": key, "request": request, **beside})


def test_a_good_file_has_nothing_to_be_said_of() -> None:
    """Empty lines may end it."""
    assert lines(line("a"), line("b"), b"", b" ") == []


@pytest.mark.parametrize(
    ("given", "rule", "row"),
    [
        ([line(), b"{"], "GB131", "line 2"),
        ([line(), b"[]"], "GB131", "line 2"),
        ([b'{"request": "\xff"}'], "GB131", "line 1"),
        ([line("a"), b"", line("b")], "GB132", "line 2"),
        ([b'{"key":"a"}'], "GB133", "line 1"),
        ([b'{"request":"x"}'], "GB133", "line 1"),
        ([b"\xef\xbb\xbf" + line()], "GB134", "line 1"),
        ([line(status="")], "GB135", "line 1"),
        ([line(response={"a": 1})], "GB135", "line 1"),
        ([line("007")], "GB136", "line 1"),
        ([line(7)], "GB136", "line 1"),
        ([line("1e5")], "GB136", "line 1"),
        ([line("")], "GB121", "line 1"),
        ([line(None)], "GB121", "line 1"),
        ([line("k" * 1025)], "GB123", "line 1"),
        ([line("a\n")], "GB124", "line 1"),
        ([line("a"), line("b"), line("a")], "GB122", "line 3"),
        ([], "GB138", "file"),
        ([dumped(GOOGLES_OWN)], "GB139", "line 1"),
        ([line(request={"contents": []})], "GB106", "line 1"),
        ([line("a", **{"my-tag": 1})], "GB101", "line 1"),
        ([line("a", tag={})], "GB102", "line 1"),
        ([line("a", tag=1), line("b", tag=[1])], "GB111", "line 2"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(given: list[bytes], rule: str, row: str) -> None:
    """Once each."""
    assert lines(*given) == [(rule, row)]


def test_a_file_of_more_than_one_job_takes_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """In rows and in bytes; more rows fit where vectors are wanted."""
    from airflow_batch_gemini.batch import lint_lines

    monkeypatch.setattr(lint_lines, "MAX_ROWS", 2)
    monkeypatch.setattr(lint_lines, "MAX_BYTES", 1000)
    plain = [line(f"k{i}", PLAIN) for i in range(3)]
    assert lines(*plain) == [("GB137", "file")]
    vectors = [line(f"k{i}", {"content": {"parts": [{"text": "x"}]}}) for i in range(3)]
    assert lines(*vectors) == []
    assert lines(line("a", {"contents": [{"parts": [{"text": "x" * 1000}]}]})) == [("GB137", "file")]


def test_a_finding_never_quotes_what_a_request_says() -> None:
    """Names of fields and the key are all that is told."""
    secret = {
        "contents": [{"role": "secret", "parts": [{"text": "secret"}]}],
        "cachedContent": "secret",
        "x": {},
    }
    told = [str(one) for one in LineLinter().take([line("k", secret), b'{"secret', line("k", secret)])]
    assert len(told) > 6
    assert not [text for text in told if "secret" in text]


@settings(max_examples=60)
@given(st.lists(LINE, max_size=6))
def test_no_line_makes_the_linter_fail(given: list[bytes]) -> None:
    """It has findings or none."""
    linter = LineLinter()
    for finding in [*linter.take(given), *linter.finish()]:
        assert finding.rule.id in lint.RULES


@settings(max_examples=40)
@given(st.lists(REQUEST, max_size=6))
def test_a_skeleton_that_is_known_is_judged_as_if_it_were_not(given: list[Any]) -> None:
    """Remembering changes no verdict: the second time round all are known, and nothing new is learned."""
    linter = FileLinter()
    data = [json.dumps(one).encode() for one in given]
    first = [linter.findings(one, orjson.loads(one)) for one in data]
    assert [linter.findings(one, orjson.loads(one)) for one in data] == first


def test_retired_models_and_models_of_another_place_are_warned_of() -> None:
    """By date and by location; of an unknown one nothing is known."""
    late, early = dt.date(2026, 11, 1), dt.date(2026, 10, 20)
    assert [one.rule.id for one in lint_model("gemini-2.5-pro-001", location="us-central1", today=late)] == [
        "GB141"
    ]
    assert list(lint_model("gemini-2.5-pro", location=None, today=early)) == []
    assert [one.rule.id for one in lint_model("gemini-3.6-flash", location="us-central1", today=late)] == [
        "GB142"
    ]
    assert list(lint_model("gemini-3.6-flash", location="eu", today=late)) == []
    assert list(lint_model("publishers/meta/models/x", location="us-central1", today=late)) == []


# --------------------------------------------------------------------------------- what lines have in common


@pytest.mark.parametrize(
    ("last", "rules"),
    [
        (KEYED % (b"c", b"x", b"\\u00e9"), []),
        (KEYED % (b"c", b"\t", b"y"), ["GB131"]),
        (KEYED % (b"c", b"\xff", b"y"), ["GB131"]),
        (KEYED % (b"c", b"\xc3", b"y"), ["GB131"]),
        (KEYED % (b"c", b'"', b"y"), ["GB131"]),
        (KEYED % (b"c", b"\\", b"y"), ["GB131"]),
        (KEYED % (b"c", b"x", b"y") + b"}", ["GB131"]),
        (KEYED % (b"c", b"x", b'"},"y":{"y":"'), []),
        (KEYED % (b"c", b"x", b'","z":"'), []),
        (KEYED % (b"a", b"x", b"y"), ["GB122"]),
        (KEYED % (b"", b"x", b"y"), ["GB121"]),
        (KEYED % (b"07", b"x", b"y"), ["GB136"]),
        (KEYED % (b"c\\u0007", b"x", b"y"), ["GB124"]),
        (KEYED % (b"c" * 1025, b"x", b"y"), ["GB123"]),
        ((KEYED % (b"c", b"x", b"y")).replace(b"user", b"bot"), ["GB107"]),
        ((KEYED % (b"c", b"x", b"y")).replace(b'"z"', b'"z\\""'), ["GB101"]),
        ((KEYED % (b"c", b"x", b"y")).replace(b'"y"', b"{}"), ["GB111", "GB102"]),
        (b"\n", []),
    ],
)
def test_a_line_that_fits_others_in_part_is_judged_by_the_rest(last: bytes, rules: list[str]) -> None:
    """What does not fit is parsed and walked."""
    found = told([*FIRST, last])
    assert [rule for rule, _ in found] == rules
    assert found == told([*FIRST, last], memory=False)


def test_a_line_that_fits_is_not_walked() -> None:
    """Escapes in texts that all of them have, and in keys, included."""
    fixed = '"\\"\\\n" é'
    given = [
        orjson.dumps(
            {
                "key": f'k"\\{n}',
                "request": {
                    "systemInstruction": {"parts": [{"text": fixed}]},
                    "contents": [{"parts": [{"text": f"\\{n}"}]}],
                },
            }
        )
        for n in range(4)
    ]
    linter = LineLinter()
    assert not [*linter.take(given[:3])]
    [frame, *_] = linter._file.frames
    assert frame.texts(given[3]) == ['k"\\3', "\\3"]
    assert frame.texts(given[3].replace(b"parts", b"Parts")) is None


def test_what_is_wrong_with_lines_that_are_alike_is_said_of_each() -> None:
    """A blank line between lines that fit included."""
    empty = [(KEYED % (key, b"x", b"y")).replace(b'"y"', b"{}") for key in (b"a", b"b", b"c", b"d")]
    assert told(empty) == [("GB102", f"line {number}") for number in (1, 2, 3, 4)]
    third = KEYED % (b"c", b"x", b"c")
    assert told([*FIRST, b"", third]) == [("GB132", "line 3")]


def test_escaped_names_are_read_as_what_they_are() -> None:
    """However often they come."""
    roles = [
        (ROLED % (key, role, b"x")).replace(b'"role"', b'"r\\u006fle"')
        for key, role in ((b"a", b"user"), (b"b", b"user"), (b"c", b"bot"))
    ]
    assert told(roles) == [("GB107", "line 3")]
    quoted = [FIRST[0], FIRST[1], (KEYED % (b"c", b"x", b"c")).replace(b'"z"', b'"z\\""')]
    assert told(quoted) == [("GB101", "line 3")]


NUMBERED = b'{"key":"%s","request":{"contents":[{"role":"user","parts":[{"text":"x"}]}],"z":{"s":%s,"t":[-1.5e3,"u"]}}}'


@pytest.mark.parametrize(
    ("number", "rules"),
    [
        (b"0", []),
        (b"12345678901234567", []),
        (b"9" * 400, ["GB131"]),
        (b"01", ["GB131"]),
        (b"", ["GB131"]),
        (b"-", ["GB131"]),
        (b"1 2", ["GB131"]),
        (b"1.", ["GB131"]),
        (b'1,"s":2', []),
        (b"2}", ["GB131"]),
        (b"2.5", []),
        (b"true", []),
        (b"{}", ["GB111", "GB102"]),
    ],
)
def test_a_number_that_varies_is_one_as_json_has_it(number: bytes, rules: list[str]) -> None:
    """And one of the same kind: everything else is parsed and walked."""
    given = [NUMBERED % (b"k%d" % at, b"%d" % at) for at in range(4)] + [NUMBERED % (b"k9", number)]
    assert told(given) == told(given, memory=False)
    assert [rule for rule, _ in told(given)] == rules


def test_a_line_whose_numbers_differ_from_all_others_is_not_walked() -> None:
    """Fractions and exponents included, in any number of turns."""
    forms = [NUMBERED.replace(b'"x"', b'"x"' + b'},{"text":"x"' * more) for more in range(2)]
    given = [
        forms[at % 2].replace(b"1.5e3", b"%d.0%de1%d" % (at, at, at % 3)) % (b"k%d" % at, b"%d" % at)
        for at in range(9)
    ]
    linter = LineLinter()
    assert not [*linter.take(given)]
    last = NUMBERED % (b"new", b"77")
    assert any(frame.texts(last) == ["new"] for frame in linter._file.frames)
    assert not any(frame.texts(last.replace(b"77", b"7.7")) for frame in linter._file.frames)


def test_so_many_numbers_that_vary_are_walked_each_time() -> None:
    """What is compared again and again is bounded."""
    linter = LineLinter()
    lists = (b"[" + b",".join([b"%d" % at] * 600) + b"]" for at in range(4))
    assert not [*linter.take(NUMBERED % (b"k%d" % at, numbers) for at, numbers in enumerate(lists))]
    assert linter._file.frames == []


NUMBERS = st.sampled_from(
    [b"0", b"7", b"12", b"01", b"-3", b"1.5", b"1e9", b"1e999", b"9" * 310, b"", b"null", b'"1"', b"[]"]
)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), NUMBERS), max_size=5))
def test_numbers_that_lines_have_in_common_change_no_verdict(given: list[tuple[bytes, bytes]]) -> None:
    """A linter without memory finds the same."""
    lines = [*(NUMBERED % (b"k%d" % at, b"%d" % at) for at in range(3)), *(NUMBERED % one for one in given)]
    assert told(lines) == told(lines, memory=False)


@given(variants())
def test_what_lines_have_in_common_changes_no_verdict(given: list[bytes]) -> None:
    """A linter without memory finds the same."""
    assert told(given) == told(given, memory=False)
