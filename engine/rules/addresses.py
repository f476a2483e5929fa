"""Which internet addresses a request that a client named may go to: public ones only.

Source: the IANA special-purpose address registries for IPv4 and IPv6, as of 2026-01. Of IPv6 only global unicast
(2000::/3) is let through, so every form that hides an IPv4 address (mapped, NAT64, 6to4, Teredo) is refused with the
rest: a gateway on the way could turn it into a private one.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_Network = IPv4Network | IPv6Network

_IPV4: dict[str, str] = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carriers (CGNAT)",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",  # the metadata service of most clouds
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",  # Oracle's metadata service
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "6to4 relay",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "168.63.129.16/32": "cloud metadata",  # Azure's, at a public address
}
_IPV6: dict[str, str] = {
    "::/128": "this host",
    "::1/128": "loopback",
    "::ffff:0:0/96": "an IPv4 address in IPv6 form",
    "64:ff9b::/96": "an IPv4 address in IPv6 form",
    "64:ff9b:1::/48": "an IPv4 address in IPv6 form",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "ff00::/8": "multicast",
    "2001::/23": "reserved",  # Teredo and ORCHID among them
    "2001:db8::/32": "documentation",
    "2002::/16": "an IPv4 address in IPv6 form",
    "3fff::/20": "documentation",
}
_REFUSED: tuple[tuple[_Network, str], ...] = tuple(
    (ip_network(network), kind) for network, kind in (_IPV4 | _IPV6).items()
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")


def refusal(address: str) -> str:
    """Why `address` (as `getaddrinfo` writes it, a zone included) must not be connected to; empty when it may be.

    Anything that is no address is refused as well.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "not an address"
    for network, kind in _REFUSED:
        if parsed in network:
            return kind
    return "" if parsed.version == 4 or parsed in _GLOBAL_UNICAST else "not global unicast"
