"""Where a process may connect to on behalf of a tenant: the verdict on one address, and the reading of one URL.

Pure: no socket, no resolver, no aiohttp. The invariant: an address is reachable only if it is ordinary public
unicast, or lies in a network that the operator allowed on purpose. A name says nothing about its address, so a
URL accepted here is vetted again at every connect (`shared.runtime.egress`).
Refuses: everything that RFC 6890's registries call special, tunnels that carry another address inside
(6to4, Teredo, NAT64), spellings of an address that parsers disagree on, and URLs with more in them than a target.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import quote, urlsplit

import idna

from shared.kernel.errors import BadInput, Misconfigured

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_MAX_CHARS: Final = 2048
HOST_MAX_CHARS: Final = 253
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# The most telling reason stands first: 255.255.255.255 is also reserved, ::1 is also outside 2000::/3.
_SPECIAL_V4: Final = tuple(
    (IPv4Network(net), reason)
    for net, reason in (
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "this_network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier_nat"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "platform"),  # Azure's host agent answers guests on this public-looking address
        ("169.254.0.0/16", "link_local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol_assignment"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_SPECIAL_V6: Final = tuple(
    (IPv6Network(net), reason)
    for net, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b::/96", "nat64"),
        ("64:ff9b:1::/48", "nat64"),
        ("2001::/32", "teredo"),
        ("2001::/23", "protocol_assignment"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link_local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")  # all that IANA has given out for unicast; the rest is not routed


class EgressRefused(BadInput):
    """The process will not connect there.

    `reason` is one word for machines: the verdict on an address, or what is wrong with a URL.
    `address` is the offending address when one is known.
    """

    code = "egress_refused"

    def __init__(self, reason: str, host: str, address: str | None = None) -> None:
        at = f" ({address})" if address and address != host else ""
        super().__init__(f"connecting to {host!r}{at} is refused: {reason}", reason=reason, host=host, address=address)
        self.reason = reason
        self.host = host
        self.address = address


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """`allow` opens holes in the blocked space; `ports` None means any port."""

    allow: tuple[Network, ...] = ()
    ports: frozenset[int] | None = None

    @classmethod
    def from_cidrs(cls, cidrs: Iterable[str], ports: frozenset[int] | None = None) -> "AddressPolicy":
        """Read the operator's list; host bits set in a network are an error, not a guess."""
        try:
            return cls(tuple(ip_network(cidr.strip()) for cidr in cidrs if cidr.strip()), ports)
        except ValueError as error:
            raise Misconfigured(f"the egress allowlist holds something that is not a network: {error}") from error

    def verdict(self, ip: Address | str) -> str | None:
        """None if this address may be reached, else the reason as one word."""
        try:
            address = ip_address(ip)
        except ValueError:
            return "not_an_address"
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return "zone"
            if address.ipv4_mapped is not None:
                address = address.ipv4_mapped  # the kernel connects to the IPv4 inside: that one is judged
        if any(address in net for net in self.allow if net.version == address.version):
            return None
        return _special(address)

    def port_verdict(self, port: int) -> str | None:
        return None if self.ports is None or port in self.ports else "port"


def _special(address: Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((reason for net, reason in _SPECIAL_V4 if address in net), None)
    for net, reason in _SPECIAL_V6:
        if address in net:
            return reason
    return None if address in _GLOBAL_V6 else "not_global"


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """A target in the one spelling that is stored and sent: ASCII, lower-case host, no default port."""

    url: str
    scheme: str
    host: str
    port: int
    address: Address | None
    """The address when the host is a literal, else None."""


_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_CANONICAL_V4: Final = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~-._"


def check_url(url: str, policy: AddressPolicy | None = None) -> ParsedUrl:
    """Read a URL that a tenant gave; EgressRefused says what is wrong with it.

    Decides on the spelling and on literal addresses only. Names are looked up, and vetted, at connect time.
    """
    policy = policy or _PUBLIC_ONLY
    shown = url[:80]
    if len(url) > URL_MAX_CHARS:
        raise EgressRefused("too_long", shown)
    # urlsplit drops tabs and newlines, and browsers read \ as /: what is read must be what is sent.
    if not url.isprintable() or " " in url or "\\" in url:
        raise EgressRefused("characters", shown)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise EgressRefused("host", shown) from error
    if parts.scheme not in DEFAULT_PORTS:
        raise EgressRefused("scheme", shown)
    if "#" in url:
        raise EgressRefused("fragment", shown)
    if "@" in parts.netloc:
        raise EgressRefused("userinfo", parts.netloc.rpartition("@")[2][:80])  # the password stays out of the error
    raw_host, port = _split_port(parts.netloc, DEFAULT_PORTS[parts.scheme])
    host, address = _read_host(raw_host, policy)
    if reason := policy.port_verdict(port):
        raise EgressRefused(reason, host)
    netloc = f"[{host}]" if isinstance(address, IPv6Address) else host
    if port != DEFAULT_PORTS[parts.scheme]:
        netloc += f":{port}"
    path = quote(parts.path, safe=_PATH_SAFE) or "/"
    query = f"?{quote(parts.query, safe=_PATH_SAFE + '?[]')}" if parts.query else ""
    normal = f"{parts.scheme}://{netloc}{path}{query}"
    if len(normal) > URL_MAX_CHARS:
        raise EgressRefused("too_long", host)
    return ParsedUrl(normal, parts.scheme, host, port, address)


def _split_port(netloc: str, default: int) -> tuple[str, int]:
    """("host" or "[v6]", port); the brackets stay, so that a bare IPv6 address is not taken for host:port."""
    bracketed, bracket, rest = netloc.rpartition("]")
    name, colon, digits = rest.partition(":")
    if bracket and name:
        raise EgressRefused("host", netloc[:80])
    host = bracketed + bracket + name
    if not host:
        raise EgressRefused("host", netloc[:80])
    if not colon:
        return host, default
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65_535):
        raise EgressRefused("port", host[:80])
    return host, int(digits)


def _read_host(raw: str, policy: AddressPolicy) -> tuple[str, Address | None]:
    if raw.startswith("["):
        return _read_v6(raw, policy)
    host = _ascii_host(raw)
    labels = host.split(".")
    # Only after the IDNA mapping: circled and full-width digits become plain ones there.
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        number = _legacy_v4(labels)
        if number is None:
            raise EgressRefused("host", host)
        if reason := policy.verdict(number):
            raise EgressRefused(reason, host, str(number))
        if not (raw.isascii() and _CANONICAL_V4.fullmatch(host)):
            raise EgressRefused("ambiguous_address", host, str(number))
        return host, number
    if len(host) > HOST_MAX_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressRefused("host", host[:80])
    if (host == "localhost" or host.endswith(".localhost")) and policy.verdict("127.0.0.1"):
        raise EgressRefused("loopback", host)  # RFC 6761: the name never means anything else
    return host, None


def _read_v6(raw: str, policy: AddressPolicy) -> tuple[str, IPv6Address]:
    inner = raw[1:-1]
    if "%" in inner:
        raise EgressRefused("zone", raw[:80])
    try:
        address = IPv6Address(inner) if raw.endswith("]") else None
    except ValueError:
        address = None
    if address is None:
        raise EgressRefused("host", raw[:80])
    if reason := policy.verdict(address):
        raise EgressRefused(reason, raw, str(address))
    return str(address), address


def _ascii_host(raw: str) -> str:
    """Lower-case ASCII by UTS 46, without the root's trailing dot."""
    try:
        host = raw.lower() if raw.isascii() else idna.encode(raw, uts46=True).decode("ascii")
    except UnicodeError as error:
        raise EgressRefused("host", raw[:80]) from error
    host = host.removesuffix(".")
    if not host:
        raise EgressRefused("host", raw[:80])
    return host


def _legacy_v4(labels: list[str]) -> IPv4Address | None:
    """The address that inet_aton, browsers and libcs see in `127.1`, `0x7f000001`, `017700000001`, `2130706433`."""
    if len(labels) > 4 or not all(_NUMERIC_LABEL.fullmatch(label) for label in labels):
        return None
    try:
        numbers = [_legacy_number(label) for label in labels]
    except ValueError:
        return None
    *heads, tail = numbers
    if any(head > 255 for head in heads) or tail >= 256 ** (4 - len(heads)):
        return None
    return IPv4Address(sum(head << (24 - 8 * i) for i, head in enumerate(heads)) + tail)


def _legacy_number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    if len(label) > 1 and label.startswith("0"):
        return int(label, 8)
    return int(label)


_PUBLIC_ONLY: Final = AddressPolicy()
