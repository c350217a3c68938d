"""An SMSC by yet another hand: smpp34, which is Rust, told what to do as `smsc_node.js` is.

    python tests/support/smsc_smpp34.py

It takes every password and cannot cut connections. A receipt may overtake the answer to its message, as it may with
any SMSC; for those that cannot have that (`receipts="held"`) receipts wait until {"report": true} lets them go.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import smpp34


class Smsc:
    def __init__(self) -> None:
        self.script: dict = {}
        self.submitted: list = []
        self.sessions: dict = {}
        self.count = 0
        self.tasks: set = set()
        self.held: list = []

    async def serve(self, server: smpp34.Server) -> None:
        while True:
            event = await server.next()
            if isinstance(event, smpp34.Esme):
                self.sessions[event.session_id] = event
            elif isinstance(event, smpp34.Unbound):
                self.sessions.pop(event.session_id, None)
            else:
                self.submit(event)

    def submit(self, event: smpp34.SubmitSmEvent) -> None:
        self.submitted.append(
            {
                "source": event.source_addr,
                "destination": event.destination_addr,
                "ton": event.dest_addr_ton,
                "npi": event.dest_addr_npi,
                "data_coding": event.data_coding,
                "esm_class": event.esm_class,
                "registered_delivery": event.registered_delivery,
                "text": event.short_message.hex(),
                "tlvs": {str(one.tag): one.value.hex() for one in event.tlvs},
            }
        )
        statuses = self.script.get("statuses")
        status = statuses.pop(0) if statuses else self.script.get("status", 0)
        if status:
            event.reject(status)
            return
        self.count += 1
        message_id = f"rust-{self.count}"
        event.accept(message_id)
        if self.script.get("receipts") == "held":
            self.held.append((event, message_id))
        elif self.script.get("receipts"):
            self.background(self.report(event, message_id))

    def release(self) -> None:
        while self.held:
            self.background(self.report(*self.held.pop(0)))

    async def report(self, event: smpp34.SubmitSmEvent, message_id: str) -> None:
        tlvs = [
            smpp34.Tlv(smpp34.TLV_RECEIPTED_MESSAGE_ID, message_id.encode() + b"\0"),
            smpp34.Tlv(smpp34.TLV_MESSAGE_STATE, b"\2"),
        ]
        esme = self.sessions[event.session_id]
        await esme.deliver_sm(
            event.source_addr,
            source_addr=event.destination_addr,
            source_addr_ton=event.dest_addr_ton,
            source_addr_npi=event.dest_addr_npi,
            esm_class=4,
            tlvs=tlvs,
        )

    async def deliver(self, fields: dict) -> int:
        esme = next(one for one in self.sessions.values() if one.can_receive)
        text = fields.pop("short_message").encode()
        answer = await esme.deliver_sm(fields.pop("destination_addr"), text, **fields)
        return answer.command_status

    def background(self, work) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


async def main() -> None:
    smsc = Smsc()
    with socket.socket() as kept:
        # Nobody else gets the port until the server has it, which sets SO_REUSEADDR, too.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        server = smpp34.Server("127.0.0.1", port)
        await server.start()
    smsc.background(smsc.serve(server))
    print(port, flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        answer: object = len(smsc.sessions)
        if "script" in order:
            smsc.script = order["script"]
        if "submitted" in order:
            answer, smsc.submitted = smsc.submitted, []
        if "report" in order:
            smsc.release()
        if "deliver" in order:
            answer = await smsc.deliver(order["deliver"])
        print(json.dumps(answer), flush=True)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
