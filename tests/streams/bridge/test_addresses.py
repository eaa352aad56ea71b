"""URLs are strict, and an address counts as public only if it is so in every form."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.bridge.addresses import Deadline, Names, is_public, place_of
from streams.bridge.reasons import FetchError, FetchReason

# IANA's registries of special-purpose addresses, without those that are reachable from everywhere.
SPECIAL_4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
SPECIAL_6 = [
    "::/128",
    "::1/128",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
NAMED = [
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "255.255.255.255",
    "fe80::1%1",
    "x",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
]

special_4 = st.sampled_from([ip_network(block) for block in SPECIAL_4]).flatmap(
    lambda block: st.integers(0, block.num_addresses - 1).map(lambda n: block[n])
)
special_6 = st.sampled_from([ip_network(block) for block in SPECIAL_6]).flatmap(
    lambda block: st.integers(0, block.num_addresses - 1).map(lambda n: block[n])
)


def forms(address: IPv4Address) -> list[str]:
    """Return an IPv4 address and the IPv6 addresses that lead to it."""
    number = int(address)
    mapped, nat64, six = 0xFFFF << 32, 0x64FF9B << 96, 0x2002 << 112
    return [str(address), *(str(IPv6Address(n)) for n in (mapped | number, nat64 | number, six | number << 80))]


@given(special_4)
def test_no_special_ipv4_address_is_public_in_any_form(address: IPv4Address) -> None:
    """By itself, mapped, behind NAT64, and in a 6to4 network."""
    assert [is_public(form) for form in forms(address)] == [False] * 4


@given(special_6)
def test_no_special_ipv6_address_is_public(address: IPv6Address) -> None:
    """Loopback, local, multicast, documentation, Teredo, benchmarks, and those that no block contains."""
    assert not is_public(str(address))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_no_address_is_public_that_python_calls_local(address: IPv4Address | IPv6Address) -> None:
    """The standard library is the second reader."""
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        # Python 3.11 calls every mapped address private.
        assert not is_public(str(address)) or getattr(address, "ipv4_mapped", None) is not None
    if is_public(str(address)) and isinstance(address, IPv4Address):
        assert address.is_global


@pytest.mark.parametrize("text", NAMED)
def test_addresses_of_clouds_and_texts_that_are_none_are_not_public(text: str) -> None:
    """Among them the metadata services of clouds."""
    assert not is_public(text)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_public(text: str) -> None:
    """Neighbours of special blocks, too; and an IPv4 address stays so mapped and behind NAT64, but not by 6to4."""
    found = ip_address(text)

    assert is_public(text)
    assert isinstance(found, IPv6Address) or [*map(is_public, forms(found))] == [True, True, True, False]


def test_the_edges_of_each_block_are_in_it() -> None:
    """The first and the last address of each."""
    for text in SPECIAL_4 + SPECIAL_6:
        block = ip_network(text)
        assert not is_public(str(block[0])), text
        assert not is_public(str(block[-1])), text
        if isinstance(block, IPv4Network):
            outside = int(block[-1]) + 1
            assert (
                outside == 2**32
                or is_public(str(IPv4Address(outside)))
                or any(IPv4Address(outside) in ip_network(other) for other in SPECIAL_4)
            )


STRICT = {
    "https://idp.example": ("idp.example", 443, "/", "idp.example"),
    "https://IDP.example:8443/a/b?c=d%20e": ("idp.example", 8443, "/a/b?c=d%20e", "idp.example:8443"),
    "https://[2001:DB8:0::1]/x": ("2001:db8::1", 443, "/x", "[2001:db8::1]"),
    "https://192.0.2.1/": ("192.0.2.1", 443, "/", "192.0.2.1"),
}


@pytest.mark.parametrize("url", STRICT)
def test_a_strict_url_has_its_parts(url: str) -> None:
    """Host in one form, port, target, and the header `Host`."""
    place = place_of(url, ())

    assert (place.host, place.port, place.target, place.authority) == STRICT[url]
    assert not place.is_private


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/", "ftp://idp.example/", "HTTPS://idp.example/", "//idp.example/", "idp.example", "",
        "https://user@idp.example/", "https://user:pw@idp.example/", "https://idp.example@127.0.0.1/",
        "https://idp.example/#a", "https://idp.example/a b", "https://idp.example\\@127.0.0.1/", "https:///a",
        "https://idp.example?a", "https://idp.example:0/", "https://idp.example:65536/", "https://idp.example:/",
        "https://idp.example:+1/", "https://idp.example./", "https://.example/", "https://a..example/",
        "https://-a.example/", "https://" + "a" * 64 + ".example/", "https://idp.example/\r\nX: y",
        "https://idp.example/\u00e9", "https://\u0131dp.example/", "https://127.1/", "https://2130706433/",
        "https://0x7f.1/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.0.0.01/", "https://a.127/",
        "https://[::1/", "https://::1/", "https://[127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://[::1::2]/",
        "https://%6c.example/", "https://idp.example/" + "a" * 2048, "https://idp.example/\n",
    ],
)  # fmt: skip
def test_another_url_is_refused(url: str) -> None:
    """Two readers could see two hosts in it, or it is no URL of a provider."""
    with pytest.raises(FetchError) as caught:
        place_of(url, ())

    assert caught.value.reason is FetchReason.FETCH_URL


def test_a_private_host_may_lead_to_private_addresses_and_be_asked_without_tls() -> None:
    """The host counts letter for letter, IPv6 addresses in every spelling; a name below it is another host."""
    private = ("idp.internal", "[fd00:0::1]", "10.0.0.1")
    for url in ("http://idp.internal:8080/", "http://IDP.internal/", "http://[fd00::1]/", "http://10.0.0.1/"):
        assert place_of(url, private).is_private
    for url in ("http://x.idp.internal/", "http://internal/", "http://[fd00::2]/", "http://10.0.0.2/"):
        with pytest.raises(FetchError):
            place_of(url, private)


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "::1", "fd00::1", "169.254.1.1", "100.64.0.1", "8.8.8.8"])
def test_a_private_host_leads_where_its_name_says(address: str) -> None:
    """Each kind of address of one machine will do."""
    names = Names(lambda _: [address, address])

    assert names.judged(place_of("http://idp.internal/", ["idp.internal"]), Deadline(20.0)) == [address]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0"])
def test_a_private_host_never_leads_to_every_machine(address: str) -> None:
    """0.0.0.0 is this machine on Linux."""
    names = Names(lambda _: ["10.0.0.1", address])
    with pytest.raises(FetchError) as caught:
        names.judged(place_of("http://idp.internal/", ["idp.internal"]), Deadline(20.0))

    assert caught.value.reason is FetchReason.FETCH_ADDRESS_UNUSABLE
