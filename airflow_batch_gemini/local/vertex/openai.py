"""Real answers from any OpenAI-compatible server: requests and responses translated."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from airflow_batch_gemini.local.vertex.answers import Draft
from airflow_batch_gemini.local.vertex.casing import words
from airflow_batch_gemini.local.vertex.requests import RowError
from airflow_batch_gemini.local.vertex.tokens import contents_of, parts_of

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "tool_calls": "STOP"}
_OPTIONS = {
    "temperature": "temperature", "topP": "top_p", "maxOutputTokens": "max_tokens", "stopSequences": "stop",
    "seed": "seed", "candidateCount": "n", "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}  # fmt: skip
_SCHEMA_WORDS = words(
    "description title enum items properties required minItems maxItems minimum maximum minLength maxLength pattern "
    "format anyOf additionalProperties default"
)
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAi:
    """A server and a model on it.

    :param read: returns the bytes of a ``gs://`` object in the local storage, or None; images found there
        are sent along.
    """

    base_url: str
    model: str
    read: Callable[[str], bytes | None]
    api_key: str | None = None

    def __call__(self, request: dict[str, Any], _seed: int) -> Draft:
        """Ask the server.

        :raises RowError: its refusal, or 503 when it cannot be reached.
        """
        return read_completion(self._post(render_body(request, model=self.model, read=self.read)))

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        address = urlsplit(f"{self.base_url.rstrip('/')}/chat/completions")
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        connection = kind(address.netloc, timeout=TIMEOUT_SECONDS)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key or 'none'}"}
        try:
            connection.request("POST", address.path, json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, HTTPException) as error:
            raise RowError(f"The answering server at {self.base_url} failed: {error}", code=503) from None
        finally:
            connection.close()
        if answer.status != 200:
            detail = said[:2000].decode("utf-8", "replace")
            raise RowError(f"The answering server said {answer.status}: {detail}", code=answer.status)
        try:
            parsed = json.loads(said)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise RowError("The answering server sent something that is not a completion.", code=500)
        return parsed


def render_body(
    request: dict[str, Any], *, model: str, read: Callable[[str], bytes | None] = lambda _uri: None
) -> dict[str, Any]:
    """Return the body of a chat completion that asks the same."""
    messages: list[dict[str, Any]] = []
    system = "\n".join(part.get("text", "") for part in parts_of(request.get("systemInstruction")))
    if system:
        messages.append({"role": "system", "content": system})
    for content in contents_of(request):
        role = "assistant" if content.get("role") == "model" else "user"
        messages.append({"role": role, "content": _content(parts_of(content), read)})
    config = request.get("generationConfig", {})
    body: dict[str, Any] = {"model": model, "messages": messages}
    body |= {theirs: config[ours] for ours, theirs in _OPTIONS.items() if ours in config}
    schema = config.get("responseJsonSchema") or json_schema(config.get("responseSchema"))
    if schema:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    elif config.get("responseMimeType") == "application/json":
        body["response_format"] = {"type": "json_object"}
    return body


def _content(parts: list[dict[str, Any]], read: Callable[[str], bytes | None]) -> str | list[dict[str, Any]]:
    if all("text" in part for part in parts):
        return "\n".join(part["text"] for part in parts)
    return [_piece(part, read) for part in parts]


def _piece(part: dict[str, Any], read: Callable[[str], bytes | None]) -> dict[str, Any]:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    media = part.get("inlineData") or part.get("fileData") or {}
    kind, data, uri = media.get("mimeType", ""), media.get("data"), media.get("fileUri", "")
    if data is None and uri:
        found = read(uri)
        data = b64encode(found).decode() if found is not None else None
    if kind.startswith("image/") and data is not None:
        return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
    return {"type": "text", "text": f"[{kind or 'part'} {uri}]" if media else json.dumps(part)}


def json_schema(schema: Any) -> Any:
    """Return Google's Schema as JSON Schema: types in lower case, ``nullable`` as a type, counts as numbers."""
    if not isinstance(schema, dict):
        return schema
    made = {name: value for name, value in schema.items() if name in _SCHEMA_WORDS}
    for word in ("minItems", "maxItems", "minLength", "maxLength"):
        if word in made:
            made[word] = int(made[word])
    if "items" in made:
        made["items"] = json_schema(made["items"])
    if isinstance(made.get("properties"), dict):
        order = [*schema.get("propertyOrdering", []), *made["properties"]]
        made["properties"] = {name: json_schema(made["properties"][name]) for name in dict.fromkeys(order)}
    if "anyOf" in made:
        made["anyOf"] = [json_schema(option) for option in made["anyOf"]]
    if "type" in schema:
        kind = str(schema["type"]).lower()
        made["type"] = [kind, "null"] if schema.get("nullable") is True else kind
    return made


def read_completion(body: dict[str, Any]) -> Draft:
    """Return a completion as a draft.

    :raises RowError: 500 when it is not one.
    """
    try:
        choices = body["choices"]
        texts = tuple(str(choice["message"].get("content") or "") for choice in choices)
        finish = _FINISH.get(choices[0].get("finish_reason") or "stop", "OTHER")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RowError("The answering server sent something that is not a completion.", code=500) from None
    usage = body.get("usage") or {}
    thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    output = usage.get("completion_tokens")
    return Draft(
        texts=texts,
        finish=finish,
        prompt=usage.get("prompt_tokens"),
        output=None if output is None else output - thoughts,
        thoughts=thoughts,
        model_version=body.get("model"),
    )
