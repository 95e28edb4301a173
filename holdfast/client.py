"""The command line's HTTP client: to the local system, or to any other by HOLDFAST_URL and HOLDFAST_API_KEY."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from holdfast.place import default_place
from shared.kernel.errors import HoldfastError, Misconfigured
from shared.kernel.logs import masked

FOUND_LIMIT_CHARS = 100


class Refused(HoldfastError):
    """The service answered with a problem; its words are shown as they are."""


class Client:
    def __init__(self, base_url: str, api_key: str, *, timeout_s: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {api_key}"}
        self.base_url = base_url
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout_s)

    def get(self, path: str, **params: Any) -> Any:
        return self._ask("GET", path, params={name: value for name, value in params.items() if value is not None})

    def text(self, path: str) -> str:
        """Of an answer that is plain text."""
        return self._answer("GET", path).text

    def post(self, path: str, body: Any = None) -> Any:
        return self._ask("POST", path, json=body)

    def put(self, path: str, body: Any) -> Any:
        return self._ask("PUT", path, json=body)

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def patch(self, path: str, body: Any) -> Any:
        return self._ask("PATCH", path, json=body)

    def send(self, path: str, chunks: Iterator[bytes], size: int, *, timeout_s: float, **params: Any) -> Any:
        """POST a body as it comes; `timeout_s` is of each read and write."""
        given = {name: value for name, value in params.items() if value is not None}
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._ask("POST", path, content=chunks, params=given, headers=headers, timeout=timeout_s)

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """An answer that is read as it comes. Raises Refused, with `status` among its details, and httpx's errors."""
        with self._http.stream("GET", path, headers={**headers, "Accept": "text/event-stream"}) as answer:
            if answer.status_code >= httpx.codes.BAD_REQUEST:
                answer.read()
                raise Refused(_problem(answer), status=answer.status_code)
            yield answer

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self._answer(method, path, **options)
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            request = self._http.build_request(method, path, **options)
        except ValueError as wrong:  # NaN and infinities, of a number that was typed or of somebody's JSON
            raise Misconfigured(f"JSON cannot say what was given: {wrong}") from None
        try:
            answer = self._http.send(request)
        except httpx.HTTPError as error:
            raise Misconfigured(f"{self._http.base_url} does not answer: {error}") from None
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise Refused(_problem(answer))
        return answer


def segment(text: str, needed: str) -> str:
    """What was typed as one part of a path. Raises Misconfigured, with what is needed, when it can be none."""
    if not text.strip() or text in (".", ".."):  # clients resolve those
        raise Misconfigured(needed)
    return quote(text, safe="")


def connect() -> Client:
    """Raises Misconfigured when neither a local system runs nor another is named."""
    url, key = os.environ.get("HOLDFAST_URL"), os.environ.get("HOLDFAST_API_KEY")
    if url and key:
        return Client(_checked_url(url), _checked_key(key))
    if url or key:
        raise Misconfigured("HOLDFAST_URL and HOLDFAST_API_KEY go together: one of them is missing")
    status = default_place().read_status()
    return Client(status["base_url"], status["api_key"])


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        found = ascii(masked(url[:FOUND_LIMIT_CHARS]))
        raise Misconfigured(f"HOLDFAST_URL must be http://… or https://… (found {found})")
    return url


def _checked_key(key: str) -> str:
    """Judged here, because httpx shows the header that it will not send."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Misconfigured("HOLDFAST_API_KEY holds what no key does: a space, a line break or a letter beyond ASCII")
    return key


def _problem(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return f"{answer.status_code}: {answer.text[:300]}"
    words = str(problem.get("detail") or problem.get("title") or answer.status_code)
    for error in problem.get("errors", [])[:5]:
        more = f"{error.get('pointer', '')}: {error.get('message', '')}"
        words += "" if more in words else f"; {more}"
    return words
