"""What a probe tells about an endpoint: the very text that was signed, what was sent, what came back, what it means.

Pure. The invariant: no secret is in it; the values of a tenant's own headers are stars, and so is a token. The signed
text is put together when it is shown, so that a body is kept once.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson

from services.webhooks.access import Access
from services.webhooks.answers import Answer, Outcome
from services.webhooks.delivery import detail_of, reason_of
from services.webhooks.sender import USER_AGENT
from services.webhooks.signing import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, parse_secret
from services.webhooks.targets import Target

TEST_TYPE: Final = "webhooks.endpoint.test"
CHALLENGE_TYPE: Final = "webhooks.endpoint.challenge"
BODY_MAX_BYTES: Final = 12_288
ANSWER_MAX_JSON: Final = 20_000
MASK: Final = "***"
_HINTS: Final[Mapping[int, str]] = {
    400: "the receiver refused the request: many libraries answer so when a signature does not match the raw body",
    401: "the receiver refused the signature, or asks for credentials: is its secret this endpoint's newest one?",
    403: "the receiver, or a firewall before it, refused the request",
    404: "nothing answers at this path",
    405: "nothing takes POST at this path",
    410: "a delivery with this answer disables the endpoint",
    413: "the receiver takes no body of this size",
    415: "the receiver does not take application/json",
    429: "the receiver asks for fewer requests: deliveries slow down",
}
_ERROR_HINTS: Final[Mapping[str, str]] = {
    "egress": "the address is one that nothing is sent to: see the docs on egress safety",
    "dns": "the name is not known",
    "refused": "nothing listens there: is the receiver running, is the port right?",
    "tls": "the certificate is verified, always: it must name this host, be valid now, and come with its chain",
    "timeout": "answer first and work later: 2xx as soon as the message is stored",
    "oauth2": "no request was sent: the token comes first",
    "proxy": "the operator's proxy stands between: it must allow CONNECT to this port",
}


def probe_result(
    target: Target, body: bytes, signed: Mapping[str, str], answer: Answer, outcome: Outcome
) -> dict[str, Any]:
    """What is kept as the job's result, well below its bound."""
    detail = detail_of(target.url, answer)
    if len(orjson.dumps(detail["body"])) > ANSWER_MAX_JSON:
        detail["body"], detail["body_truncated"] = detail["body"][: ANSWER_MAX_JSON // 6], True
    return {
        "request": {
            "kind": target.kind,
            "url": target.url,
            "headers": sent_headers(target, body, signed),
            "body": body.decode(),
        },
        "answer": detail,
        "verdict": verdict(answer, outcome),
    }


def sent_headers(target: Target, body: bytes, signed: Mapping[str, str]) -> dict[str, str]:
    if target.kind != "http":
        return dict(signed)
    fixed = {"user-agent": USER_AGENT, "content-type": "application/json", "content-length": str(len(body))}
    own = dict.fromkeys(target.headers, MASK)
    if isinstance(target.config, Access) and target.config.grant is not None:
        own["authorization"] = f"Bearer {MASK}"
    return {**fixed, "accept-encoding": "identity", "accept": "*/*", **own, **signed}


def verdict(answer: Answer, outcome: Outcome) -> dict[str, Any]:
    """`ok` is what a delivery would call a success."""
    hint = None
    if answer.status is None:
        hint = _ERROR_HINTS.get(str(answer.error))
    elif 300 <= answer.status <= 399:
        hint = "redirects are never followed: register the address that it points to"
    elif outcome.kind != "success":
        hint = _HINTS.get(answer.status) or ("the receiver failed" if answer.status >= 500 else None)
    ok = outcome.kind == "success"
    return {"ok": ok, "outcome": outcome.kind, "message": reason_of(answer), "hint": None if ok else hint}


def shown_probe(job: Mapping[str, Any], args: Mapping[str, Any], result: Mapping[str, Any] | None) -> dict[str, Any]:
    """The document: of a probe that has not ended there is no `signature` yet."""
    shown: dict[str, Any] = {
        "endpoint_id": args["endpoint_id"],
        "event_id": args["event_id"],
        "purpose": "challenge" if args.get("challenge") else "test",
        "signature": None,
        "request": None,
        "response": None,
        "latency_ms": None,
        "network_error": None,
        "verdict": None,
        "error": {"type": job["error_type"], "message": job["error_message"]} if job["error_type"] else None,
    }
    if result is None or "request" not in result:
        return shown
    request, answer = result["request"], result["answer"]
    response = None
    if answer["status"] is not None:
        response = {name: answer[name] for name in ("status", "headers", "body", "body_truncated")}
    return {
        **shown,
        "signature": _signature(request["headers"], request["body"]),
        "request": {"method": "POST" if request["kind"] == "http" else None, **request},
        "response": response,
        "latency_ms": answer["latency_ms"],
        "network_error": answer.get("error"),
        "verdict": result["verdict"],
    }


def challenge_met(answer: Answer, challenge: str, secrets: Sequence[str]) -> bool:
    """True when a 2xx body is the challenge, or JSON that says it (`challenge`) or signs it (`signature`)."""
    if answer.status is None or not 200 <= answer.status <= 299:
        return False
    text = answer.body.strip()
    if hmac.compare_digest(text.encode(), challenge.encode()):
        return True
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(document, dict):
        return bool(document == challenge)
    if isinstance(said := document.get("challenge"), str) and hmac.compare_digest(said.encode(), challenge.encode()):
        return True
    given = document.get("signature")
    return isinstance(given, str) and any(
        hmac.compare_digest(given.encode(), wanted.encode()) for wanted in challenge_signatures(challenge, secrets)
    )


def challenge_signatures(challenge: str, secrets: Sequence[str]) -> list[str]:
    """`v1,` and the base64 of HMAC-SHA256 over the challenge's text, for each secret that both sides share."""
    keys = [parsed.key for parsed in map(parse_secret, secrets) if parsed.kind == "whsec"]
    return ["v1," + base64.b64encode(hmac.digest(key, challenge.encode(), "sha256")).decode() for key in keys]


def _signature(headers: Mapping[str, str], body: str) -> dict[str, Any]:
    """`signed_content` is to the byte what was signed; a receiver that has other bytes there has another signature."""
    content = f"{headers[ID_HEADER]}.{headers[TIMESTAMP_HEADER]}.{body}"
    seen: dict[str, int] = {}
    signatures = []
    for one in headers[SIGNATURE_HEADER].split(" "):
        version = one.partition(",")[0]
        seen[version] = seen.get(version, 0) + 1
        signatures.append(
            {"version": version, "signature": one, "secret": "current" if seen[version] == 1 else "previous"}
        )
    return {
        "message_id": headers[ID_HEADER],
        "timestamp": int(headers[TIMESTAMP_HEADER]),
        "signed_content": content,
        "signed_content_sha256": sha256(content.encode()).hexdigest(),
        "body_bytes": len(body.encode()),
        "signatures": signatures,
    }
