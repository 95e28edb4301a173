"""The verdict on addresses and the reading of URLs."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from shared.kernel.errors import Misconfigured
from shared.runtime.addresses import AddressPolicy, EgressRefused, check_url

PUBLIC = AddressPolicy()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "this_network"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "link_local"),
        ("100.64.0.1", "carrier_nat"),
        ("100.100.100.200", "carrier_nat"),
        ("168.63.129.16", "platform"),
        ("192.0.0.192", "protocol_assignment"),
        ("192.0.2.1", "documentation"),
        ("198.51.100.7", "documentation"),
        ("203.0.113.9", "documentation"),
        ("192.88.99.1", "6to4"),
        ("198.18.0.1", "benchmarking"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link_local"),
        ("::127.0.0.1", "not_global"),
        ("::ffff:0:127.0.0.1", "not_global"),
        ("64:ff9b::7f00:1", "nat64"),
        ("64:ff9b:1::a00:1", "nat64"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "teredo"),
        ("2001:20::1", "protocol_assignment"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("fc00::1", "private"),
        ("fd00:ec2::254", "private"),
        ("fe80::1", "link_local"),
        ("fe80::1%eth0", "zone"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
        ("100::1", "not_global"),
        ("4000::1", "not_global"),
        ("example.com", "not_an_address"),
    ],
)
def test_special_addresses_are_blocked_with_their_reason(address: str, reason: str) -> None:
    assert PUBLIC.verdict(address) == reason


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]
)
def test_public_addresses_pass(address: str) -> None:
    assert PUBLIC.verdict(address) is None


@given(st.integers(0, 2**32 - 1))
def test_nothing_passes_that_python_calls_special(number: int) -> None:
    address = IPv4Address(number)
    if PUBLIC.verdict(address) is None:
        assert address.is_global
        assert not address.is_multicast
    assert PUBLIC.verdict(IPv6Address(f"::ffff:{address}")) == PUBLIC.verdict(address)


@given(st.ip_addresses(v=6) | st.integers(2**125, 2**126 - 1).map(IPv6Address))
def test_nothing_passes_that_python_calls_special_in_ipv6(address: IPv6Address) -> None:
    if PUBLIC.verdict(address) is None:
        assert address.is_global
        assert not address.is_multicast


def test_the_allowlist_opens_exactly_its_networks() -> None:
    policy = AddressPolicy.from_cidrs(["127.0.0.0/8", " 10.1.0.0/16 ", "", "fd00::/8"])
    assert policy.verdict("127.0.0.1") is None
    assert policy.verdict("::ffff:127.0.0.1") is None
    assert policy.verdict("10.1.2.3") is None
    assert policy.verdict("10.2.0.1") == "private"
    assert policy.verdict("fd12::1") is None
    assert policy.verdict("::1") == "loopback"


@pytest.mark.parametrize("cidr", ["10.0.0.1/8", "all", "10.0.0.0/33"])
def test_an_allowlist_that_cannot_be_read_is_a_bad_setting(cidr: str) -> None:
    with pytest.raises(Misconfigured):
        AddressPolicy.from_cidrs([cidr])


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("https://example.com:443/a?b=c", "https://example.com/a?b=c"),
        ("http://example.com.:8080/x", "http://example.com:8080/x"),
        ("https://bücher.example/ü?ö=1", "https://xn--bcher-kva.example/%C3%BC?%C3%B6=1"),
        ("https://example.com/a%2Fb/../c;d", "https://example.com/a%2Fb/../c;d"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700:0::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
        ("https://my_host.internal-zone.example/", "https://my_host.internal-zone.example/"),
        ("https://1.2.3.4.example/", "https://1.2.3.4.example/"),
    ],
)
def test_urls_come_out_in_one_spelling_that_reads_as_itself(url: str, normal: str) -> None:
    parsed = check_url(url)
    assert parsed.url == normal
    assert check_url(normal) == parsed


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "scheme"),
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("//example.com/", "scheme"),
        ("https:example.com", "host"),
        ("https:///path", "host"),
        ("https://user:pw@example.com/", "userinfo"),
        ("https://example.com@127.0.0.1/", "userinfo"),
        ("https://example.com/#frag", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://exa mple.com/", "characters"),
        ("https://example.com/\r\nX: y", "characters"),
        ("https://exam\tple.com/", "characters"),
        ("https://example.com\\@evil.example/", "characters"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:/", "port"),
        ("https://example.com:8²/", "port"),
        ("https://a:b:80/", "port"),
        ("https://::1/", "host"),
        ("https://[::1]:/", "port"),
        ("https://[::1]:80:80/", "port"),
        ("https://[::1/", "host"),
        ("https://[::1]x/", "host"),
        ("https://[fe80::1%25eth0]/", "zone"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:7f00:1]/", "loopback"),
        ("https://[::ffff:127.0.0.1]:80/", "loopback"),
        ("https://127.0.0.1/", "loopback"),
        ("https://127.0.0.1./", "loopback"),
        ("https://2130706433/", "loopback"),
        ("https://0x7f000001/", "loopback"),
        ("https://0X7F.1/", "loopback"),
        ("https://0177.0.0.1/", "loopback"),
        ("https://017700000001/", "loopback"),
        ("https://127.1/", "loopback"),
        ("https://0/", "unspecified"),
        ("https://①②⑦.⓪.⓪.①/", "loopback"),
        ("https://127。0。0。1/", "loopback"),
        ("https://169.254.169.254/latest", "link_local"),
        ("https://134744072/", "ambiguous_address"),
        ("https://⑧.⑧.⑧.⑧/", "ambiguous_address"),
        ("https://8.8.2056/", "ambiguous_address"),
        ("https://256.1.1.1/", "host"),
        ("https://1.2.3.4.5/", "host"),
        ("https://example.09/", "host"),
        ("https://localhost/", "loopback"),
        ("https://a.LOCALHOST./", "loopback"),
        ("https://%6c%6f/", "host"),
        ("https://-a.example/", "host"),
        ("https://a..example/", "host"),
        ("https://" + "a" * 64 + ".example/", "host"),
        ("https://" + "a." * 130 + "example/", "host"),
        ("https://example.com/" + "a" * 2048, "too_long"),
        ("https://example.com/" + "ü" * 500, "too_long"),
    ],
)
def test_urls_that_are_more_or_less_than_a_target_are_refused(url: str, reason: str) -> None:
    with pytest.raises(EgressRefused) as caught:
        check_url(url)
    assert caught.value.reason == reason
    assert "pw" not in str(caught.value)


def test_an_allowlist_and_ports_count_for_urls_too() -> None:
    policy = AddressPolicy.from_cidrs(["127.0.0.0/8"], ports=frozenset({443, 8000}))
    assert check_url("http://127.0.0.1:8000/", policy).address == ip_address("127.0.0.1")
    assert check_url("http://localhost:8000/", policy).address is None
    with pytest.raises(EgressRefused, match="port"):
        check_url("http://127.0.0.1/", policy)


@pytest.mark.parametrize(
    "host", ["①②⑦.⓪.⓪.①", "127。0。0。1", "\uff11\uff12\uff17.0.0.1", "2130706433", "127.1", "0x7f.0.0.1"]
)
def test_an_odd_spelling_is_refused_also_of_an_address_that_is_allowed(host: str) -> None:
    policy = AddressPolicy.from_cidrs(["127.0.0.0/8"])
    with pytest.raises(EgressRefused) as caught:
        check_url(f"http://{host}/", policy)
    assert caught.value.reason == "ambiguous_address"


@given(st.text(max_size=60))
def test_any_text_after_the_scheme_is_refused_or_read_stably(tail: str) -> None:
    try:
        parsed = check_url("https://" + tail)
    except EgressRefused:
        return
    assert parsed.url.isascii()
    assert URL(parsed.url, encoded=True).raw_host == parsed.host  # what aiohttp will connect to
    assert check_url(parsed.url) == parsed
