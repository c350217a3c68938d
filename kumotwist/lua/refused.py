"""KumoMTA's functions that kumotwist does not have: calling one says so, instead of "attempt to call a nil value".

Public: `refused_libraries`, installed before the real ones; `with_refused`, for methods of messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from attrs import frozen

from kumotwist.core.errors import ConfigError
from kumotwist.lua.binding import Function, Library
from kumotwist.lua.convert import HostClass

#: By the table below `kumo` that they are in.
FUNCTIONS: Final[Mapping[str, str]] = {
    "": """
        compute_egress_path_config_constraints compute_queue_config_constraints configure_log_disposition_hook
        enable_memory_callstack_tracking eval_config_monitor_globs
        format_egress_path_config_constraints format_egress_path_config_toml format_queue_config_toml
        generate_rfc3464_message get_event_registrars get_memory_hard_limit get_memory_low_thresh get_memory_soft_limit
        invoke_get_egress_path_config invoke_get_egress_pool invoke_get_egress_source invoke_get_queue_config
        prometheus_metrics set_httpinject_recipient_rate_limit suspend_delivery_when_spool_unhealthy toml_encode_pretty
        traceback uncached_glob""",
    "aaa": """
        make_http_url_resource query_resource_access set_acl_cache_ttl set_check_cache_ttl set_fall_back_to_acl_map""",
    "amqp": "basic_publish build_client",
    "api.inject": "build_v1 inject_v1",
    "counter_series": "define",
    "crypto": "aes_decrypt_block aes_encrypt_block aws_sign_v4",
    "digest": """
        crc32 hmac_sha1 hmac_sha224 hmac_sha384 hmac_sha512 sha224 sha384 sha3_256 sha3_384 sha3_512 sha512
        sha512_256""",
    "dmarc": "check_msg",
    "dns": """
        configure_test_mta_sts configure_unbound_resolver load_resolv_conf
        lookup_ptr ptr_host rbl_lookup reverse_ip set_mta_sts_enabled set_mx_concurrency_limit
        set_mx_negative_cache_ttl set_mx_timeout""",
    "encode": """
        base32_decode base32_encode base32_nopad_decode base32_nopad_encode base32hex_decode base32hex_encode
        base32hex_nopad_decode base32hex_nopad_encode base64_nopad_decode base64_nopad_encode base64url_decode
        base64url_encode base64url_nopad_decode base64url_nopad_encode charset_decode charset_encode""",
    "file_type": "from_bytes from_extension from_media_type",
    "fs": "metadata_for_path symlink_metadata_for_path uncached_glob",
    "http": "connect_websocket",
    "jsonl": "new_multi_tailer new_tailer new_writer",
    "kafka": "build_producer",
    "mimepart": "builder new_binary new_html new_multipart new_text new_text_plain parse",
    "mpsc": "define",
    "nats": "close connect publish",
    "serde": "toml_encode_pretty toml_encode_pretty_compact",
    "shaping": "load",
    "spf": "check_host check_msg",
    "string": """
        eval_template normalize_smtp_response psl_domain psl_suffix replacen rsplit rsplitn split_ascii_whitespace
        split_whitespace splitn trim_end trim_start wrap""",
    "time": "from_unix_timestamp parse_rfc2822 start_timer with_ymd_hms",
    "xfer": "cancel_xfer get_xfer_target xfer xfer_in_requeue",
}
MESSAGE_METHODS: Final = """
    add_authentication_results append_text_html append_text_plain arc_seal arc_verify dkim_verify parse_mime""".split()  # noqa: SIM905  # names, as above


def refusal(name: str) -> Function:
    """What stands in for the function called `name`."""

    def refuse(*_: object) -> None:
        raise ConfigError(f"{name} is known to KumoMTA but not supported by kumotwist; see docs/kumomta-users.md")

    return refuse


@frozen
class _Refused:
    """The refused functions of one table."""

    namespace: str

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        prefix = f"kumo.{self.namespace}." if self.namespace else "kumo."
        return {name: refusal(prefix + name) for name in FUNCTIONS[self.namespace].split()}


def refused_libraries() -> Sequence[Library]:
    """One for each table; what is installed after them takes precedence."""
    return [_Refused(namespace) for namespace in FUNCTIONS]


def with_refused(message: HostClass) -> HostClass:
    """The facade of messages with the methods that it does not have."""
    refused = {name: refusal(f"message:{name}") for name in MESSAGE_METHODS}
    return attrs.evolve(message, methods={**refused, **message.methods})
