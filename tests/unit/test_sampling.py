"""The sample of request lines: bounded, the same for the same lines, and of every kind there is."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_gemini.batch.request_lines import RequestLines
from airflow_batch_gemini.batch.sampling import MAX_KEPT, PartSize, SampledLine, Sampler, spread

IMAGE = {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}}
PDF = {"file_data": {"file_uri": "gs://b/a.pdf", "mime_type": "application/pdf"}}


def line(number: int, *parts: dict[str, object], length: int = 10) -> bytes:
    contents = [{"role": "user", "parts": [{"text": "x" * length}, *parts]}]
    return orjson.dumps({"key": f"k_{number}", "request": {"contents": contents}}) + b"\n"


def sampler(*batches: list[bytes], part: int = 0, max_kept: int = MAX_KEPT) -> Sampler:
    made = Sampler(max_kept=max_kept)
    for batch in batches:
        made.add(part, RequestLines.of(batch))
    return made


@given(st.lists(st.integers(0, 400), max_size=12), st.integers(1, 40))
def test_how_lines_are_handed_over_makes_no_difference(cuts: list[int], most: int) -> None:
    """Batches come as the reader cuts them; the sample must not depend on it."""
    lines = [line(number, length=number % 97) for number in range(400)]
    edges = [0, *sorted(cuts), 400]
    batches = [lines[a:b] for a, b in pairwise(edges)]
    whole, cut = sampler(lines, max_kept=most), sampler(*batches, max_kept=most)
    assert cut.kept == whole.kept
    assert cut.sizes == whole.sizes
    assert cut.sample() == whole.sample()


@pytest.mark.parametrize("period", [2, 3, 4, 7, 8, 64])
def test_lines_that_take_turns_are_all_seen(period: int) -> None:
    """A plain stride would see one kind only where kinds alternate."""
    lines = [line(number, length=10 * (number % period)) for number in range(100_000)]
    made = sampler(*(lines[at : at + 1000] for at in range(0, len(lines), 1000)))
    assert MAX_KEPT // 2 - 1 <= len(made.kept) <= MAX_KEPT
    turns = Counter(kept.row % period for kept in made.kept)
    assert len(turns) == period
    assert max(turns.values()) < 2.5 * len(made.kept) / period


def test_memory_is_bounded_by_bytes_as_well() -> None:
    """Lines with files inside are megabytes each."""
    made = Sampler(max_kept_bytes=5000)
    for number in range(300):
        made.add(0, RequestLines.of([line(number, length=1000)]))
    assert 1 <= len(made.kept) <= 4
    assert sum(kept.size for kept in made.kept) <= 5000


def test_a_single_line_beyond_the_bound_is_kept() -> None:
    """Something must stand for the others."""
    made = Sampler(max_kept_bytes=10)
    made.add(0, RequestLines.of([line(0), line(1), line(2)]))
    assert len(made.sample()) == 1


def test_every_part_is_measured_whole() -> None:
    """Sizes are of all lines, not of those that are kept."""
    made = Sampler(max_kept=2)
    made.add(0, RequestLines.of([b"12\n"] * 10))
    made.add(1, RequestLines.of([b"1\n"] * 5))
    assert made.sizes == (PartSize(part=0, rows=10, size=30), PartSize(part=1, rows=5, size=10))


def test_nothing_is_the_sample_of_nothing() -> None:
    """No lines, no sample."""
    assert (Sampler().sample(), Sampler().sizes) == ((), ())
    assert sampler([line(0)]).sample(0) == ()


def test_fewer_lines_than_wanted_are_all_taken() -> None:
    """The order is that of the rows."""
    assert [found.row for found in sampler([line(n, length=50 - n) for n in range(7)]).sample(20)] == [
        *range(7)
    ]


def test_a_rare_kind_of_media_is_in_the_sample() -> None:
    """One PDF among a thousand texts may cost more than all of them."""
    lines = [line(number) for number in range(1000)]
    lines[777] = line(777, PDF)
    lines[500:600] = [line(number, IMAGE) for number in range(500, 600)]
    assert Counter(found.media for found in sampler(lines).sample(20)) == {"text": 17, "image": 2, "pdf": 1}


def test_the_sample_is_spread_over_sizes_and_parts() -> None:
    """Each of twenty size classes and each part gives its share."""
    made = Sampler()
    for part in range(4):
        made.add(part, RequestLines.of([line(number, length=number) for number in range(250)]))
    sample = made.sample(20)
    assert Counter(found.part for found in sample) == {0: 5, 1: 5, 2: 5, 3: 5}
    sizes = sorted(found.size for found in sample)
    assert len({(size - sizes[0]) // 13 for size in sizes}) >= 18
    assert sizes[-1] - sizes[0] > 200


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (line(0), "text"),
        (line(0, IMAGE, PDF), "image+pdf"),
        (line(0, {"inlineData": {"mimeType": "audio/mp3", "data": ""}}), "audio"),
        (line(0, {"fileData": {"mimeType": "text/csv", "fileUri": "gs://b/x.csv"}}), "document"),
        (line(0, {"text": '"mimeType":"image/png"'}), "text"),
        (b'{"request":{"generationConfig":{"responseMimeType":"application/json"}}}', "text"),
    ],
)
def test_kinds_of_media_are_told_by_their_types(data: bytes, media: str) -> None:
    """What a prompt says about media is no media."""
    assert SampledLine(part=0, row=0, line=data).media == media


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        (b'{"key":"k","request":{"contents":[]}}', {"contents": []}),
        (b'{"contents":[]}\n', {"contents": []}),
        (b"no json", {}),
        (b"[1]", {}),
        (b'{"request":"x"}', {}),
    ],
)
def test_a_line_knows_its_request(data: bytes, request_: dict[str, object]) -> None:
    """With a key around it or bare; what is none is an empty one."""
    assert SampledLine(part=0, row=0, line=data).request == request_


def test_a_sampled_line_shows_nothing_of_itself() -> None:
    """It may come to stand in a log or in a traceback."""
    assert repr(SampledLine(part=1, row=2, line=b"secret")) == "SampledLine(part=1, row=2, size=6)"


def test_choosing_again_from_the_same_lines_gives_the_same() -> None:
    """Whoever samples in another way, by a query say, chooses alike."""
    lines = [SampledLine(part=0, row=n, line=line(n, length=n * 7 % 31)) for n in range(100)]
    assert spread(lines, 9) == spread(lines[::-1], 9)


def test_watching_costs_next_to_nothing() -> None:
    """A million lines take a small part of a second, where preparing them takes seconds."""
    batch = RequestLines.of([line(number, length=400) for number in range(1000)])
    made = Sampler()
    began = time.process_time()
    for _ in range(1000):
        made.add(0, batch)
    assert time.process_time() - began < 0.5
    assert made.sizes[0].rows == 1_000_000
