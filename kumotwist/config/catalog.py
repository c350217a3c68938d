"""Which Lua function takes which options class.

Public: `CATALOG`, in the order in which a policy usually needs them, and `NESTED`
for tables that stand inside others.
"""

from __future__ import annotations

from typing import Final

from kumotwist.config.bounces import BounceClassifierConfig
from kumotwist.config.conformance import RepairOptions
from kumotwist.config.dkim import DkimSignerConfig
from kumotwist.config.egress import PathConfig, PoolConfig, PoolEntry, SourceConfig
from kumotwist.config.library import HttpClientConfig, MemoizeConfig
from kumotwist.config.listener import HttpListenerConfig, ListenerDomain, SmtpListenerConfig, TraceHeaders
from kumotwist.config.queue import CustomLuaProtocol, MaildirProtocol, NullProtocol, QueueConfig, SmtpProtocol
from kumotwist.config.receipts import (
    BirdReceipts,
    MailgunReceipts,
    PlivoReceipts,
    ReceiptProof,
    ReceiptsConfig,
    ReceiptSources,
    ResendReceipts,
    SendgridReceipts,
    SinchReceipts,
    SnsReceipts,
    TelnyxReceipts,
    TwilioReceipts,
    VonageMessagesReceipts,
    VonageReceipts,
)
from kumotwist.config.records import AcctLogConfig, LocalLogConfig, LogHookConfig, RecordOptions
from kumotwist.config.redis import RedisOptions
from kumotwist.config.resolver import FixedResolverConfig, NameServer, ResolverConfig, ZoneText
from kumotwist.config.routes import BudgetConfig, FallbackStage, LearnConfig, RouteEntry, RouteTableConfig
from kumotwist.config.spool import SpoolConfig
from kumotwist.config.translate import ChatTextOptions, PushTextOptions, SmsTextOptions

CATALOG: Final[dict[str, type]] = {
    "kumo.start_esmtp_listener": SmtpListenerConfig,
    "kumo.start_http_listener": HttpListenerConfig,
    "kumo.make_listener_domain": ListenerDomain,
    "kumo.define_spool": SpoolConfig,
    "kumo.make_queue_config": QueueConfig,
    "kumo.make_route_table": RouteTableConfig,
    "kumo.make_egress_pool": PoolConfig,
    "kumo.make_egress_source": SourceConfig,
    "kumo.make_egress_path": PathConfig,
    "kumo.configure_local_logs": LocalLogConfig,
    "kumo.configure_log_hook": LogHookConfig,
    "kumo.configure_bounce_classifier": BounceClassifierConfig,
    "kumo.configure_redis_throttles": RedisOptions,
    "kumo.configure_receipts": ReceiptsConfig,
    "kumo.aaa.configure_acct_log": AcctLogConfig,
    "kumo.dkim.rsa_sha256_signer": DkimSignerConfig,
    "kumo.dkim.ed25519_signer": DkimSignerConfig,
    "kumo.dns.configure_resolver": ResolverConfig,
    "kumo.http.build_client": HttpClientConfig,
    "kumo.memoize": MemoizeConfig,
    "message:check_fix_conformance": RepairOptions,
    "message:as_sms": SmsTextOptions,
    "message:as_push": PushTextOptions,
    "message:as_chat": ChatTextOptions,
}

NESTED: Final[dict[str, type]] = {
    "trace_headers": TraceHeaders,
    "receipts": ReceiptSources,
    "receipts.CHANNEL.ACCOUNT": ReceiptProof,
    "receipts.sendgrid.ACCOUNT": SendgridReceipts,
    "receipts.mailgun.ACCOUNT": MailgunReceipts,
    "receipts.resend.ACCOUNT": ResendReceipts,
    "receipts.ses.ACCOUNT": SnsReceipts,
    "receipts.twilio.ACCOUNT": TwilioReceipts,
    "receipts.vonage.ACCOUNT": VonageReceipts,
    "receipts.vonage_messages.ACCOUNT": VonageMessagesReceipts,
    "receipts.bird.ACCOUNT": BirdReceipts,
    "receipts.plivo.ACCOUNT": PlivoReceipts,
    "receipts.sinch.ACCOUNT": SinchReceipts,
    "receipts.telnyx.ACCOUNT": TelnyxReceipts,
    "protocol.smtp": SmtpProtocol,
    "protocol.custom_lua": CustomLuaProtocol,
    "protocol.maildir_path": MaildirProtocol,
    "protocol.null": NullProtocol,
    "routes[]": RouteEntry,
    "budgets[]": BudgetConfig,
    "fallback[]": FallbackStage,
    "learn": LearnConfig,
    "entries[]": PoolEntry,
    "per_record.TYPE": RecordOptions,
    "name_servers[]": NameServer,
    "Test": FixedResolverConfig,
    "Test.zones[]": ZoneText,
}
