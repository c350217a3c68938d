"""What `kumotwist explain --id` says of a daemon that is not there."""

import socket
import threading

import pytest

from kumotwist.core.errors import ConfigError
from kumotwist.trial.live import ask


@pytest.mark.parametrize(
    "said",
    [
        b"220 mx.example ESMTP\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
    ],
)
def test_what_is_no_answer_is_one_line(said):
    """The port of another listener, say."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--daemon {url}: ") as caught:
            ask(url, "0" * 32)
        assert "\n" not in str(caught.value)
        thread.join(10)
