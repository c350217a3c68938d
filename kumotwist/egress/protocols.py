"""What a policy writes as `protocol`, read: the channel's name and its options.

`protocol = { sendgrid = { api_key = ... } }` names a channel; the options
class is the channel's own. A channel's module is imported when its name is
first met, so a policy pays only for what it uses.

Public: `queue_config`, `route_table`, `protocol`, `load`, `names`, `BUILT_IN`, `ENTRY_POINTS`. What can
go wrong: ConfigError with the option's path; for an unknown name, the nearest
known one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from kumotwist.config.option import WrongOption
from kumotwist.config.queue import Protocol, QueueConfig
from kumotwist.config.routes import RouteTableConfig
from kumotwist.config.structure import describe_value, hint, structure
from kumotwist.core.errors import ConfigError
from kumotwist.egress.api.options import check_base_url

#: Every channel of ours by the name that policies write, and the class that makes it.
BUILT_IN: Final[Mapping[str, str]] = {
    "smtp": "kumotwist.egress.esmtp.channel:EsmtpKind",
    "custom_lua": "kumotwist.egress.lua:LuaKind",
    "maildir": "kumotwist.egress.maildir:MaildirKind",
    "null": "kumotwist.egress.null:NullKind",
    "gmail": "kumotwist.egress.esp.gmail:GmailKind",
    "graph": "kumotwist.egress.esp.graph:GraphKind",
    "webpush": "kumotwist.egress.push.webpush:WebPushKind",
    "fcm": "kumotwist.egress.push.fcm:FcmKind",
    "apns": "kumotwist.egress.push.apns:ApnsKind",
    "mailgun": "kumotwist.egress.esp.mailgun:MailgunKind",
    "brevo": "kumotwist.egress.esp.brevo:BrevoKind",
    "mailjet": "kumotwist.egress.esp.mailjet:MailjetKind",
    "postmark": "kumotwist.egress.esp.postmark:PostmarkKind",
    "resend": "kumotwist.egress.esp.resend:ResendKind",
    "sendgrid": "kumotwist.egress.esp.sendgrid:SendGridKind",
    "ses": "kumotwist.egress.esp.ses:SesKind",
    "smpp": "kumotwist.egress.sms.smpp.channel:SmppKind",
    "sparkpost": "kumotwist.egress.esp.sparkpost:SparkPostKind",
    "aws_sms": "kumotwist.egress.sms.aws_sms:AwsSmsKind",
    "bird": "kumotwist.egress.sms.bird:BirdKind",
    "brevo_sms": "kumotwist.egress.sms.brevo_sms:BrevoSmsKind",
    "infobip": "kumotwist.egress.sms.infobip:InfobipKind",
    "kannel": "kumotwist.egress.sms.kannel:KannelKind",
    "plivo": "kumotwist.egress.sms.plivo:PlivoKind",
    "sinch": "kumotwist.egress.sms.sinch:SinchKind",
    "telnyx": "kumotwist.egress.sms.telnyx:TelnyxKind",
    "twilio": "kumotwist.egress.sms.twilio:TwilioKind",
    "vonage": "kumotwist.egress.sms.vonage:VonageKind",
    "vonage_messages": "kumotwist.egress.sms.vonage_messages:VonageMessagesKind",
    "webhook": "kumotwist.egress.webhook:WebhookKind",
    "discord": "kumotwist.egress.chat.discord:DiscordKind",
    "slack": "kumotwist.egress.chat.slack:SlackKind",
    "teams": "kumotwist.egress.chat.teams:TeamsKind",
    "telegram": "kumotwist.egress.chat.telegram:TelegramKind",
}
#: Group of the entry points that announce more of them: the entry's name is the protocol's.
ENTRY_POINTS: Final = "kumotwist.egress"
#: What a policy may write as a bare string (KumoMTA).
_WITHOUT_OPTIONS: Final = ("smtp", "null")


def queue_config(params: object, where: str) -> QueueConfig:
    """The options of a scheduled queue from a policy's table, its protocol included. Raises ConfigError."""
    if isinstance(params, Mapping) and params.get("protocol") is not None:
        params = {**params, "protocol": protocol(params["protocol"], where)}
    return structure(QueueConfig, params, where)


def route_table(params: object, where: str) -> RouteTableConfig:
    """A route table from a policy's table, the protocols of its routes included. Raises ConfigError."""
    if isinstance(params, Mapping) and isinstance(params.get("routes"), (list, tuple)):
        params = {**params, "routes": [_route(one, where, number) for number, one in enumerate(params["routes"], 1)]}
    return structure(RouteTableConfig, params, where)


def _route(params: object, where: str, number: int) -> object:
    if isinstance(params, Mapping) and params.get("protocol") is not None:
        at = ("routes", str(number), "protocol")
        return {**params, "protocol": protocol(params["protocol"], where, at)}
    return params


def protocol(value: object, where: str, at: Sequence[str] = ("protocol",)) -> Protocol:
    """The options of a channel from what a policy wrote as `protocol`; `at` is the path of that. Raises ConfigError."""
    path = ".".join(at)
    name, given = _named(value, f"{where}: option '{path}'")
    try:
        options: type[Any] = load(name).options
    except KeyError:
        known = names()
        text = f"names no protocol '{name}'; known are {', '.join(known)}{hint(name, known)}"
        raise ConfigError(f"{where}: option '{path}' {text}") from None
    # What is written `maildir_path` has its options beside it.
    below = at if name == "maildir" else (*at, name)
    read: Protocol = structure(options, given, where, below)
    base_url = getattr(read, "base_url", None)
    if base_url:
        try:
            check_base_url(base_url)
        except WrongOption as error:
            raise ConfigError(f"{where}: option '{'.'.join(below)}.{error.name}' {error.text}") from None
    return read


@cache
def load(name: str) -> Any:
    """The class that makes the channels of that name (`egress.registry.ChannelKind`). Raises KeyError."""
    place = BUILT_IN.get(name)
    if place is not None:
        module, _, kind = place.partition(":")
        return getattr(import_module(module), kind)
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        return entry.load()
    raise KeyError(name)


def _named(value: object, whose: str) -> tuple[str, object]:
    if isinstance(value, str) and value.lower() in _WITHOUT_OPTIONS:
        return value.lower(), {}
    problem = f"{whose} must name one protocol, like {{ smtp = {{}} }}"
    if not isinstance(value, Mapping):
        raise ConfigError(f"{problem}, got {describe_value(value)}")
    if "maildir_path" in value:
        return "maildir", value
    if len(value) != 1:
        raise ConfigError(f"{problem} or {{ custom_lua = {{ constructor = 'make.it' }} }}")
    ((name, options),) = value.items()
    return str(name), options


def names() -> list[str]:
    """Of all protocols, as policies write them."""
    known = {*BUILT_IN, *(entry.name for entry in entry_points(group=ENTRY_POINTS))}
    return sorted(known - {"maildir"} | {"maildir_path"})
