"""Who runs a mailbox: known by the recipient's domain, or by the host that takes the domain's mail.

The tables name those that run most of the world's mailboxes or stand before
them, under one short name each. A name of ours has no dot, so it cannot be
taken for a domain. Where consumers and companies are served by different
systems of one house with rules of their own, they have different names.

Public: `provider_of_domain`, `provider_of_host`. Pure, and nothing can go wrong: what no table knows is told by the
host's parent domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Domains in which the providers give out addresses, as their sign-up pages and help say. Their many national domains
#: (`hotmail.co.uk`, `yahoo.fr`) are found by their hosts, at the price of a question to DNS.
_DOMAINS: Final[Mapping[str, str]] = {
    domain: name
    for name, domains in {
        "gmail": "gmail.com googlemail.com",
        "outlook": "outlook.com hotmail.com live.com msn.com outlook.de hotmail.de live.de hotmail.co.uk hotmail.fr",
        "yahoo": "yahoo.com ymail.com rocketmail.com yahoo.de yahoo.co.uk yahoo.fr yahoo.it yahoo.es aol.com aim.com",
        "icloud": "icloud.com me.com mac.com",
        "gmx": "gmx.de gmx.net gmx.at gmx.ch gmx.com web.de mail.com",
        "t-online": "t-online.de magenta.de",
        "proton": "proton.me protonmail.com protonmail.ch pm.me",
        "mail-ru": "mail.ru inbox.ru bk.ru list.ru internet.ru",
        "yandex": "yandex.ru yandex.com ya.ru",
        "qq": "qq.com foxmail.com",
        "netease": "163.com 126.com yeah.net",
        "comcast": "comcast.net",
        "orange": "orange.fr wanadoo.fr",
        "freenet": "freenet.de",
        "seznam": "seznam.cz email.cz",
        "naver": "naver.com",
        "libero": "libero.it",
    }.items()
    for domain in domains.split()
}
#: Ends of the names of mail exchangers, as the providers tell their customers to publish them, and as their own domains
#: do (looked up in 2026).
_HOSTS: Final[Mapping[str, str]] = {
    host: name
    for name, hosts in {
        "gmail": "gmail-smtp-in.l.google.com",
        "google-workspace": "google.com googlemail.com psmtp.com",
        "outlook": "olc.protection.outlook.com hotmail.com",
        "microsoft-365": "mail.protection.outlook.com mx.microsoft",
        "yahoo": "yahoodns.net",
        "yahoo-japan": "yahoo.co.jp",
        "icloud": "mail.icloud.com",
        "gmx": "gmx.net web.de mail.com",
        "t-online": "t-online.de",
        "proton": "protonmail.ch",
        "fastmail": "messagingengine.com",
        "zoho": "zoho.com zoho.eu zoho.in zohomail.com",
        "mail-ru": "mail.ru",
        "yandex": "yandex.ru yandex.net",
        "qq": "qq.com",
        "netease": "163.com 126.com netease.com",
        "ionos": "ionos.com ionos.de ionos.co.uk kundenserver.de 1and1.com",
        "strato": "rzone.de",
        "ovh": "ovh.net",
        "gandi": "gandi.net",
        "rackspace": "emailsrvr.com",
        "godaddy": "secureserver.net",
        "amazon": (
            "inbound-smtp.us-east-1.amazonaws.com inbound-smtp.us-west-2.amazonaws.com "
            "inbound-smtp.eu-west-1.amazonaws.com"
        ),
        # Those who filter for others: they decide, whoever keeps the mailbox behind them.
        "proofpoint": "pphosted.com ppe-hosted.com",
        "mimecast": "mimecast.com mimecast.co.za mimecast-offshore.com",
        "barracuda": "barracudanetworks.com",
        "cisco": "iphmx.com",
        "symantec": "messagelabs.com",
        "trend-micro": "trendmicro.com trendmicro.eu",
        "sophos": "sophos.com",
        "hornetsecurity": "hornetsecurity.com antispameurope.com",
        "comcast": "comcast.net",
        "orange": "orange.fr",
        "freenet": "freenet.de",
        "seznam": "seznam.cz",
        "naver": "naver.com",
        "libero": "libero.it",
    }.items()
    for host in hosts.split()
}


def provider_of_domain(domain: str) -> str | None:
    """The name of who runs the mailboxes of a well-known domain, in lower case; None for every other."""
    return _DOMAINS.get(domain)


def provider_of_host(host: str) -> str:
    """The name of who runs a mail exchanger; for one that is in no table its parent domain.

    `mx1.mail.example.com` gives `mail.example.com`; a host that is a domain
    itself (`example.com`) gives that.
    """
    name = host.rstrip(".").lower()
    labels = name.split(".")
    for first in range(len(labels) - 1):
        known = _HOSTS.get(".".join(labels[first:]))
        if known is not None:
            return known
    return ".".join(labels[1:]) if len(labels) > 2 else name
