"""Checking and echoing one GenerateContentRequest. What is wrong here fails the row, not the job."""

from __future__ import annotations

from typing import Any

from airflow_batch_gemini.local.vertex.casing import words
from airflow_batch_gemini.local.vertex.schemas import SchemaError, compile_schema
from airflow_batch_gemini.local.vertex.tokens import one_or_many

_REQUEST_FIELDS = words(
    "contents systemInstruction cachedContent tools toolConfig labels safetySettings modelArmorConfig "
    "generationConfig model serviceTier"
)
_CONFIG_FIELDS = words(
    "temperature topP topK candidateCount maxOutputTokens stopSequences responseLogprobs logprobs presencePenalty "
    "frequencyPenalty seed responseMimeType responseSchema responseJsonSchema responseFormat routingConfig "
    "audioTimestamp audioTranscriptionConfig responseModalities mediaResolution speechConfig thinkingConfig "
    "modelConfig modelSelectionConfig enableAffectiveDialog enableEnhancedCivicAnswers imageConfig "
    "translationConfig"
)
_PART_FIELDS = words(
    "text inlineData fileData functionCall functionResponse executableCode codeExecutionResult videoMetadata thought "
    "thoughtSignature mediaResolution partMetadata mediaProcessing audioTranscription speechMetadata toolCall "
    "toolResponse"
)
_PAYLOADS = words(
    "text inlineData fileData functionCall functionResponse executableCode codeExecutionResult toolCall "
    "toolResponse"
)
_ROLES = ("user", "model")
JSON_MIME_TYPES = ("application/json", "text/x.enum")


class RowError(Exception):
    """One row cannot be answered."""

    def __init__(self, message: str, *, code: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def check_request(request: Any, *, batch: bool) -> None:
    """Check a request whose field names are in camelCase already.

    :param batch: also refuse what only batch prediction does not support.
    :raises RowError: with the message the service uses where it is known.
    """
    if not isinstance(request, dict):
        raise RowError("Unable to submit request because at least one contents field is required.")
    _known(request, _REQUEST_FIELDS, "")
    if batch and request.get("cachedContent"):
        raise RowError(
            "Unable to submit request because cached_content is not supported in batch prediction."
        )
    contents = one_or_many(request.get("contents"))
    if not isinstance(contents, list) or not contents:
        raise RowError("Unable to submit request because at least one contents field is required.")
    for content in contents:
        _check_content(content, "contents")
        if content.get("role", "user") not in _ROLES:
            raise RowError("Please use a valid role: user, model.")
    if "systemInstruction" in request:
        _check_content(request["systemInstruction"], "system_instruction")
    _check_config(request.get("generationConfig", {}))


def _known(value: dict[str, Any], fields: frozenset[str], where: str) -> None:
    for name in value:
        if name not in fields:
            at = f" at '{where}'" if where else ""
            raise RowError(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.')


def _check_content(content: Any, where: str) -> None:
    if not isinstance(content, dict):
        raise RowError(f"Invalid value at '{where}' (Content): an object is required.")
    _known(content, frozenset(("role", "parts")), where)
    parts = one_or_many(content.get("parts"))
    if not isinstance(parts, list) or not parts:
        raise RowError(
            "Unable to submit request because it must include at least one parts field, which describes the prompt "
            "input."
        )
    for part in parts:
        _check_part(part, f"{where}.parts")


def _check_part(part: Any, where: str) -> None:
    if not isinstance(part, dict):
        raise RowError(f"Invalid value at '{where}' (Part): an object is required.")
    _known(part, _PART_FIELDS, where)
    payloads = _PAYLOADS.intersection(part)
    if len(payloads) != 1:
        found = ", ".join(sorted(payloads)) or "none"
        raise RowError(
            f"Unable to submit request because each part must have exactly one data field; found {found}."
        )
    if "text" in part and not isinstance(part["text"], str):
        raise RowError(f"Invalid value at '{where}.text' (TYPE_STRING), {part['text']!r}.")
    if "text" in part and not part["text"]:
        raise RowError(
            "Unable to submit request because it has an empty text parameter. Add a value to the parameter and try "
            "again."
        )
    for name in ("fileData", "inlineData"):
        if name in part:
            _check_media(part[name], name)


def _check_media(media: Any, name: str) -> None:
    if (
        not isinstance(media, dict)
        or not isinstance(media.get("mimeType"), str)
        or "/" not in media["mimeType"]
    ):
        raise RowError(f"Unable to submit request because its {name} has no valid mimeType parameter.")
    uri = media.get("fileUri")
    if name == "fileData" and not (isinstance(uri, str) and uri.startswith(("gs://", "https://", "http://"))):
        raise RowError(
            f"Unable to submit request because its fileUri is neither gs:// nor https://: {uri!r}."
        )
    if name == "inlineData" and not isinstance(media.get("data"), str):
        raise RowError("Unable to submit request because its inlineData has no data.")


def _check_config(config: Any) -> None:
    if not isinstance(config, dict):
        raise RowError("Invalid value at 'generation_config' (GenerationConfig): an object is required.")
    _known(config, _CONFIG_FIELDS, "generation_config")
    candidates = config.get("candidateCount", 1)
    if not isinstance(candidates, int) or not 1 <= candidates <= 8:
        raise RowError("Unable to submit request because its candidateCount is not between 1 and 8.")
    limit = config.get("maxOutputTokens", 1)
    if not isinstance(limit, int) or limit < 1:
        raise RowError("Unable to submit request because its maxOutputTokens is not a positive number.")
    thinking = config.get("thinkingConfig", {})
    if not isinstance(thinking, dict) or not isinstance(thinking.get("thinkingBudget", 0), int):
        raise RowError("Invalid value at 'generation_config.thinking_config' (ThinkingConfig).")
    schema = config.get("responseSchema")
    schema = config.get("responseJsonSchema") if schema is None else schema
    if schema is None:
        return
    if config.get("responseMimeType") not in JSON_MIME_TYPES:
        raise RowError(
            "Unable to submit request because a response schema needs responseMimeType application/json or text/x.enum."
        )
    try:
        compile_schema(schema)
    except SchemaError as error:
        raise RowError(f"Invalid value at 'generation_config.response_schema': {error}") from None


def echoed(value: Any) -> Any:
    """Return a request as output lines repeat it: fields in alphabetical order, nulls where a neighbour has more.

    The service writes ``{"fileData": null, "text": …}`` for a text part beside a file part.
    """
    if isinstance(value, dict):
        return {name: _echoed_field(name, value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [echoed(item) for item in value]
    return value


def _echoed_field(name: str, value: Any) -> Any:
    if name != "parts" or not isinstance(value, list) or len(value) < 2:
        return echoed(value)
    names = sorted({field for part in value if isinstance(part, dict) for field in part})
    return [
        {field: echoed(part.get(field)) for field in names} if isinstance(part, dict) else part
        for part in value
    ]
