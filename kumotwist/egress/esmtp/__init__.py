"""The SMTP channel: mail by ESMTP or LMTP to a domain's exchangers or to hosts that policy lists."""
