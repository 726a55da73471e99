"""The canary of a preparation: a few of its requests answered by direct calls, each paid for at most once.

Every request has an object of its own in the workspace. It is written before the call and replaced by the answer after
it, so whatever ends an attempt between the two, the next one knows that this request may have been billed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow_batch_gemini.batch import canary
from airflow_batch_gemini.batch.canary import CanaryFigures, Judged
from airflow_batch_gemini.batch.canary_answer import CanaryAnswer, key_in, request_id
from airflow_batch_gemini.batch.columns import NO_COLUMNS, Typed
from airflow_batch_gemini.batch.layout import Workspace
from airflow_batch_gemini.batch.sampling import SampledLine
from airflow_batch_gemini.exceptions import (
    ConfigurationError,
    NothingPaidError,
    PaymentUnknownError,
    RequestRefusedError,
    ServiceError,
)

if TYPE_CHECKING:
    from airflow_batch_gemini.batch.names import GcsUri
    from airflow_batch_gemini.batch.pricing import Price
    from airflow_batch_gemini.batch.schema import Shape
    from airflow_batch_gemini.hooks.gemini_batch import GeminiBatchHook
    from airflow_batch_gemini.hooks.workspace import WorkspaceHook

CANARY_SECONDS = 600.0
"""No call begins later than this; what was not asked by then is told as such."""
_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request of the sample, and for how many rows it stands: rows that ask the same are asked once."""

    request_id: str
    key: str
    request: Mapping[str, Any]
    weight: float


class Canary:
    """Asks the requests of a sample, a few at a time, and remembers every answer in the workspace.

    :param killed: whether the task was told to stop; looked at right before each call.
    """

    def __init__(
        self,
        vertex: GeminiBatchHook,
        workspace: WorkspaceHook,
        places: Workspace,
        *,
        project: str,
        location: str,
        model: str,
        killed: Callable[[], bool],
    ) -> None:
        self._vertex = vertex
        self._workspace = workspace
        self._places = places
        self._project = project
        self._location = location
        self._model = model
        self._killed = killed
        self._broken = threading.Event()
        self._deadline = 0.0
        self._turned_away: ServiceError | None = None

    def measure(
        self,
        sample: Sequence[SampledLine],
        kept: Sequence[SampledLine],
        *,
        population: int,
        shape: Shape,
        price: Price | None,
        columns: Typed = NO_COLUMNS,
    ) -> CanaryFigures:
        """Ask what was not asked yet, and return what all answers say together.

        :param kept: the lines that *sample* was chosen from.
        :param population: rows of the batch.
        :param columns: what the response schema promises, by which the load will judge, too.
        :raises ConfigurationError: Vertex AI refuses this caller, model or place whatever is asked.
        :raises ServiceError: nothing could be asked, for now; a retry goes on from here.
        """
        questions = self._questions(sample, canary.weights(sample, kept))
        answers = self._ask(questions)
        if self._killed():
            raise ServiceError(
                "This task was told to stop while its canary was asked. No job was sent; the next attempt asks only "
                "what was not asked yet."
            )
        known = [answer for answer in answers if answer is not None]
        if (code := canary.refused_altogether(known)) is not None:
            raise ConfigurationError(
                f"Vertex AI refused every request of the canary ({code}): {self._model} is not served in "
                f"{self._location}, or the connection's account may not call it (roles/aiplatform.user). No job was "
                "sent and nothing was billed; correct it and clear this task."
            )
        if not known and self._turned_away is not None:
            raise self._turned_away
        judged = [
            Judged(answer=answer, weight=question.weight)
            for question, answer in zip(questions, answers, strict=True)
        ]
        return canary.figures(judged, shape=shape, population=population, columns=columns, price=price)

    def _questions(self, sample: Sequence[SampledLine], weights: Sequence[float]) -> list[Question]:
        found: dict[str, Question] = {}
        for line, weight in zip(sample, weights, strict=True):
            identity = request_id(line.request, model=self._model, location=self._location)
            if identity is None:
                continue
            before = found[identity].weight if identity in found else 0.0
            found[identity] = Question(
                request_id=identity, key=key_in(line.line), request=line.request, weight=before + weight
            )
        return list(found.values())

    def _ask(self, questions: Sequence[Question]) -> list[CanaryAnswer | None]:
        self._deadline = time.monotonic() + CANARY_SECONDS
        self._workspace.client()  # made once, not by several threads at once
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="canary") as pool:
            return list(pool.map(self._answer, questions))

    def _answer(self, question: Question) -> CanaryAnswer | None:
        """Return what is known of the request in the end; ``None`` when it was not asked."""
        try:
            uri, generation = self._places.canary(question.request_id), 0
            stored = self._workspace.read(uri)
            if stored is not None:
                known = CanaryAnswer.from_json(stored.data, request_id=question.request_id)
                if not known.may_be_asked:
                    return known
                generation = stored.info.generation
            return self._asked(question, uri, generation) if self._goes_on() else None
        except BaseException:
            self._broken.set()
            raise

    def _asked(self, question: Question, uri: GcsUri, generation: int) -> CanaryAnswer | None:
        """Write down the intent, and only then call."""
        from airflow_batch_gemini.hooks.workspace import PreconditionLost

        note = CanaryAnswer(request_id=question.request_id, key=question.key, nonce=uuid4().hex)
        try:
            noted = self._workspace.write(uri, note.to_json(), if_generation=generation).generation
        except PreconditionLost:
            stored = self._workspace.read(uri)
            if stored is None:
                return None
            found = CanaryAnswer.from_json(stored.data, request_id=question.request_id)
            if found.nonce != note.nonce:
                return found  # another attempt is at work, and its call may be on its way
            noted = stored.info.generation
        try:
            answer = self._called(note, question.request) if self._goes_on() else None
        except NothingPaidError:
            self._workspace.delete(uri, if_generation=noted)
            raise
        if answer is None:
            self._workspace.delete(uri, if_generation=noted)
        elif answer is not note:
            # A note's generation is known to nobody else: what stands in its place by now is this answer.
            with suppress(PreconditionLost):
                self._workspace.write(uri, answer.to_json(), if_generation=noted)
        return answer

    def _called(self, note: CanaryAnswer, request: Mapping[str, Any]) -> CanaryAnswer | None:
        """Call, and return what is known then: the *note* itself when the answer was lost, ``None`` for no call."""
        try:
            response = self._vertex.generate_content(
                project_id=self._project,
                location=self._location,
                model=self._model,
                request=request,
                patience=max(self._deadline - time.monotonic(), 0.0),
                wanted=self._goes_on,
            )
        except RequestRefusedError as error:
            return note.refused(error.http_status)
        except PaymentUnknownError as error:
            return note if error.http_status is None else note.failed(error.http_status)
        except ServiceError as error:
            self._turned_away = error
            return None
        return note.answered(response)

    def _goes_on(self) -> bool:
        return not (self._broken.is_set() or self._killed()) and time.monotonic() < self._deadline
