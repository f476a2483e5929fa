"""The table of addresses: every form that leads inside is refused, whatever it looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.addresses import refusal

REFUSED = [
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("0.0.0.0", "this network"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("100.64.0.1", "shared by carriers (CGNAT)"),
    ("100.100.100.200", "shared by carriers (CGNAT)"),  # Alibaba's metadata service
    ("169.254.169.254", "link-local"),  # that of AWS, Google and Azure
    ("168.63.129.16", "cloud metadata"),
    ("192.0.0.192", "reserved"),
    ("192.0.2.1", "documentation"),
    ("198.18.0.1", "benchmarking"),
    ("198.19.255.255", "benchmarking"),
    ("198.51.100.7", "documentation"),
    ("203.0.113.7", "documentation"),
    ("192.88.99.1", "6to4 relay"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "this host"),
    ("::1", "loopback"),
    ("::ffff:127.0.0.1", "an IPv4 address in IPv6 form"),
    ("::ffff:8.8.8.8", "an IPv4 address in IPv6 form"),
    ("::127.0.0.1", "not global unicast"),
    ("64:ff9b::7f00:1", "an IPv4 address in IPv6 form"),
    ("64:ff9b:1::1", "an IPv4 address in IPv6 form"),
    ("2002:7f00:1::", "an IPv4 address in IPv6 form"),
    ("2001:0:7f00:1::", "reserved"),  # Teredo
    ("2001:db8::1", "documentation"),
    ("3fff::1", "documentation"),
    ("fc00::1", "private"),
    ("fd00:ec2::254", "private"),  # AWS's metadata service
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("fec0::1", "not global unicast"),
    ("ff02::1", "multicast"),
    ("100::1", "not global unicast"),
    ("5f00::1", "not global unicast"),
    ("localhost", "not an address"),
    ("2130706433", "not an address"),
    ("0177.0.0.1", "not an address"),
    ("", "not an address"),
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00::1",
]


@pytest.mark.parametrize(("address", "reason"), REFUSED)
def test_refused(address: str, reason: str) -> None:
    assert refusal(address) == reason


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert refusal(address) == ""


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="192.168.0.0/16"))
def test_no_form_of_a_private_address_passes(address: object) -> None:
    assert refusal(str(address))
    assert refusal(f"::ffff:{address}")
    assert refusal(f"64:ff9b::{address}")


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_passes_is_global_in_python_s_eyes_too(address: object) -> None:
    if not refusal(str(address)):
        assert address.is_global  # type: ignore[attr-defined]
