"""The providers' stand-in as a process, and a check of what it was sent against the vendors' own descriptions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from support.daemon import START_TIMEOUT, STOP_TIMEOUT, WAIT, Process, eventually

_SCHEMAS = Path(__file__).parent / "openapi"


class Providers:
    """A context manager; `url` is where SendGrid, Mailgun and SparkPost live."""

    def __init__(self, directory: Path, *options: str) -> None:
        """`options` as `kumotwist.demo.standin_http` takes them."""
        self.output = directory / "providers.jsonl"
        command = [sys.executable, "-m", "kumotwist.demo.standin_http", "--output", str(self.output), *options]
        self.process = Process(command, "stdout")
        line = self.process.wait_for_line(r"^listening on ", START_TIMEOUT)
        self.url = f"http://{line.split()[-1]}"

    def requests(self, provider: str | None = None) -> list[dict[str, Any]]:
        """What was asked so far, of one provider or of all."""
        try:
            lines = self.output.read_text().split("\n")[:-1]
        except FileNotFoundError:
            return []
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if provider in (None, entry["provider"])]

    def wait_for(self, count: int, provider: str | None = None, timeout: float = WAIT) -> list[dict[str, Any]]:
        """At least `count` requests."""

        def enough() -> list[dict[str, Any]] | None:
            found = self.requests(provider)
            return found if len(found) >= count else None

        return eventually(enough, f"{count} requests to {provider or 'the providers'}", timeout)

    def __enter__(self) -> Providers:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.popen.kill()
        self.process.wait(STOP_TIMEOUT)


def check(entry: Mapping[str, Any]) -> None:
    """Fail when a recorded request is not what its vendor describes."""
    match entry["provider"]:
        case "sendgrid":
            assert entry["headers"]["content-type"].startswith("application/json")
            _sendgrid().validate(entry["json"])
        case "sparkpost":
            _sparkpost().validate(entry["json"])
        case "mailgun":
            assert entry["headers"]["content-type"].startswith("multipart/form-data")
            _mailgun().validate(_as_object(entry["form"]))
        case unknown:
            raise AssertionError(f"no description of {unknown}")


def _as_object(form: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The form as the object that an OpenAPI description of it speaks of; `to` may repeat."""
    fields: dict[str, Any] = {"to": [part["value"] for part in form if part["name"] == "to"]}
    for part in form:
        if part["name"] != "to":
            fields[part["name"]] = part["value"]
    assert [part["file_name"] for part in form if part["name"] == "message"] != [None], "message has to be a file"
    return fields


@cache
def _sendgrid() -> Any:
    document = _load("sendgrid_mail_v3.json")
    schema = document["components"]["requestBodies"]["PostMailSend"]["content"]["application/json"]["schema"]
    return jsonschema_rs.validator_for({**schema, "components": document["components"]})


@cache
def _mailgun() -> Any:
    document = _load("mailgun.messages.json")
    name = "POST-v3-domain_name-messages-mime-multipart-form-data-RequestBody"
    schema = document["components"]["schemas"][name]
    return jsonschema_rs.validator_for({**schema, "components": document["components"]})


@cache
def _sparkpost() -> Any:
    return jsonschema_rs.validator_for(_load("sparkpost_transmissions.hand.json")["schemas"]["TransmissionRequest"])


def _load(name: str) -> Any:
    return json.loads((_SCHEMAS / name).read_text())
