"""What an HTTP endpoint asks of its sender beside a signature: a client certificate, an OAuth2 token.

Pure. The invariants: what cannot work is refused when it is given, with the member at fault; a private key and a
client secret are kept sealed (`endpoints`), and what is shown of them tells nobody anything. Refuses keys that do not
belong to their certificate, encrypted keys, and certificates that have expired.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from pydantic import ConfigDict, Field, StringConstraints

from services.webhooks.tokens import Grant
from shared.kernel.clock import SECOND_US, rfc3339
from shared.kernel.errors import BadInput
from shared.runtime.addresses import AddressPolicy, EgressRefused, check_url
from shared.runtime.bodies import Body, Line

CHAIN_MAX: Final = 10
RSA_MIN_BITS: Final = 2048
Pem = Annotated[str, StringConstraints(min_length=1, max_length=65_536, pattern=r"^[\x09\x0a\x0d\x20-\x7e]+$")]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=4_096, pattern=r"^[\x20-\x7e]+$")]
Scope = Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=r"^[\x21\x23-\x5b\x5d-\x7e ]+$")]
Url = Annotated[str, Field(min_length=1, max_length=2_048)]


class ClientCertificate(Body):
    """For mutual TLS, as PEM: the certificate (its chain may follow it), and its private key, not encrypted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "certificate": "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n",
        "private_key": "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n",
    }]})  # fmt: skip

    certificate: Pem
    private_key: Pem


class OAuth2(Body):
    """The client credentials grant (RFC 6749 §4.4). `auth`: how the secret is sent to `token_url`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "token_url": "https://login.example/token", "client_id": "holdfast", "client_secret": "…", "scope": "hooks",
    }]})  # fmt: skip

    token_url: Url
    client_id: Line
    client_secret: Secret
    scope: Scope | None = None
    audience: Line | None = None
    auth: Literal["basic", "body"] = "basic"


@dataclass(frozen=True, slots=True)
class Access:
    """In clear, in a worker's memory. `pair`: the certificate and its key as PEM."""

    pair: tuple[str, str] | None = field(default=None, repr=False)
    grant: Grant | None = None


def open_access(access: dict[str, Any], endpoint_id: str) -> Access | None:
    """What the sender is told; None when there is nothing to tell."""
    if not access:
        return None
    pair, grant = access.get("client_certificate"), access.get("oauth2")
    return Access(
        (pair["certificate"], pair["private_key"]) if pair else None,
        Grant(key=f"{endpoint_id}:{_key(grant)}", **grant) if grant else None,
    )


def checked_access(
    url: str, certificate: ClientCertificate | None, oauth2: OAuth2 | None, policy: AddressPolicy, now_us: int
) -> dict[str, Any]:
    """What is to be sealed; empty when nothing was asked for. Raises BadInput."""
    access: dict[str, Any] = {}
    if certificate is not None:
        if not url.startswith("https:"):
            raise _refused("/client_certificate", "a client certificate needs an https:// URL")
        read_certificate(certificate, now_us)
        access["client_certificate"] = certificate.model_dump()
    if oauth2 is not None:
        try:
            token_url = check_url(oauth2.token_url, policy).url
        except EgressRefused as refused:
            raise BadInput(
                f"no token can be fetched from this URL: {refused.message}",
                code="url_refused", pointer="/oauth2/token_url", found=refused.host, reason=refused.reason,
            ) from None  # fmt: skip
        access["oauth2"] = {**oauth2.model_dump(), "token_url": token_url}
    return access


def read_certificate(given: ClientCertificate, now_us: int) -> x509.Certificate:
    """The leaf. Raises BadInput that names the member at fault."""
    leaf = _leaf(given.certificate)
    if leaf.not_valid_after_utc <= datetime.fromtimestamp(now_us / SECOND_US, UTC):
        raise _refused("/client_certificate/certificate", f"the certificate expired at {_instant(leaf)}")
    if _private(given.private_key) != leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise _refused("/client_certificate/private_key", "the private key does not belong to the certificate")
    return leaf


def shown_access(access: dict[str, Any], now_us: int) -> dict[str, Any]:
    """The two members of an endpoint's document: no key, no secret."""
    shown: dict[str, Any] = {"client_certificate": None, "oauth2": None}
    if given := access.get("client_certificate"):
        leaf = x509.load_pem_x509_certificates(given["certificate"].encode())[0]
        shown["client_certificate"] = {
            "subject": leaf.subject.rfc4514_string()[:1_000],
            "issuer": leaf.issuer.rfc4514_string()[:1_000],
            "serial_number": f"{leaf.serial_number:x}",
            "fingerprint_sha256": leaf.fingerprint(hashes.SHA256()).hex(),
            "not_before": rfc3339(int(leaf.not_valid_before_utc.timestamp()) * SECOND_US),
            "expires_at": _instant(leaf),
            "expired": leaf.not_valid_after_utc.timestamp() * SECOND_US <= now_us,
        }
    if oauth2 := access.get("oauth2"):
        shown["oauth2"] = {name: value for name, value in oauth2.items() if name != "client_secret"}
    return shown


def _key(grant: dict[str, Any]) -> str:
    """So that a changed secret is not answered with the old one's token."""
    return hashlib.sha256(orjson.dumps(grant, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _leaf(pem: str) -> x509.Certificate:
    pointer = "/client_certificate/certificate"
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise _refused(pointer, "this is no certificate in PEM") from None
    if len(chain) > CHAIN_MAX:
        raise _refused(pointer, f"the chain has more than {CHAIN_MAX} certificates")
    try:  # each is read when it is asked for
        key, _ = chain[0].public_key(), (chain[0].subject, chain[0].issuer)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused(pointer, f"the certificate cannot be read: {error}"[:200]) from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_MIN_BITS:
        raise _refused(pointer, f"its RSA key has {key.key_size} bits, {RSA_MIN_BITS} are the least")
    return chain[0]


def _private(pem: str) -> bytes:
    """Its public half."""
    pointer = "/client_certificate/private_key"
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise _refused(pointer, "the private key is encrypted: give it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _refused(pointer, "this is no private key in PEM") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        raise _refused(pointer, "the private key must be RSA, EC or Ed25519")
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _instant(leaf: x509.Certificate) -> str:
    return str(rfc3339(int(leaf.not_valid_after_utc.timestamp()) * SECOND_US))


def _refused(pointer: str, message: str) -> BadInput:
    return BadInput(message, code="client_certificate_refused", pointer=pointer)
