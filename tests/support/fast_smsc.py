"""An SMSC that does nothing but say yes, as fast as it can: for measurements.

    python tests/support/fast_smsc.py [receipts]

Prints its port, then for each line on its standard input how many messages it
has taken and how many receipts were taken from it. With `receipts` it reports
each message as delivered, right behind the response. Its own framing, so that ours is measured against another hand's.
"""

from __future__ import annotations

import asyncio
import struct
import sys

HEADER = struct.Struct(">IIII")
SUBMIT_SM, RESPONSE = 0x04, 0x80000000
BINDS = (0x01, 0x02, 0x09)
#: Texts of other kinds get an empty body.
WITH_NAME = dict.fromkeys(BINDS, b"fast\x00")


RECEIPT = (
    b"\0\1\1%b\0\0\0%b\0\4\0\0\0\0\0\0\0\0%c"
    b"id:%x sub:001 dlvrd:001 submit date:2611250712 done date:2611250713 stat:DELIVRD err:000 text:"
)
DELIVER_SM, HAS_RECEIPTS = 0x05, "receipts" in sys.argv


class Smsc(asyncio.Protocol):
    taken = reported = 0

    def __init__(self) -> None:
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        at, size, out, reports = 0, len(data), [], []
        while size - at >= 16:
            length, command, _, sequence = HEADER.unpack_from(data, at)
            if size - at < length:
                break
            at += length
            if command == SUBMIT_SM:
                Smsc.taken += 1
                body = b"%x\0" % Smsc.taken
                if HAS_RECEIPTS:
                    reports.append(receipt(Smsc.taken))
            elif command & RESPONSE:
                Smsc.reported += command == DELIVER_SM | RESPONSE
                continue
            else:
                body = WITH_NAME.get(command, b"")
            out.append(HEADER.pack(16 + len(body), command | RESPONSE, 0, sequence) + body)
        self.rest = data[at:]
        self.transport.write(b"".join(out + reports))


def receipt(number: int) -> bytes:
    text = RECEIPT % (b"15550000000", b"15550001111", 0, number)
    size = len(text) - text.index(b"id:")
    body = RECEIPT % (b"15550000000", b"15550001111", size, number)
    return HEADER.pack(16 + len(body), DELIVER_SM, 0, number) + body


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Smsc, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print(Smsc.taken, Smsc.reported, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
