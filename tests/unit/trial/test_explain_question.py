"""What `kumotwist explain` is asked: mistakes are one line and exit status 2, a message is what SMTP would bring."""

import io

import pytest

from kumotwist.trial.question import question

MESSAGE = b"Subject: hi\r\n\r\nhello\r\n"


def asked(*arguments):
    return question([str(one) for one in arguments], "/etc/policy.lua")


@pytest.fixture
def message(tmp_path):
    """A file with a message."""
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "message.eml: No such file or directory"),
        ("directory", "message.eml: Is a directory"),
        (b"", "message.eml: is empty; a message has header lines"),
        (b"From ann Mon Nov 23 10:00:00 2026\nSubject: hi\n\nhello\n", "begins as a mailbox file does"),
    ],
)
def test_a_file_that_is_no_message(tmp_path, capsys, content, said):
    """Not there, a directory, empty, or a mailbox file."""
    path = tmp_path / "message.eml"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        asked(path, "--to=ann@example.org")
    told = capsys.readouterr().err
    assert caught.value.code == 2
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: --to"),
        (["--to=not an address"], "'not an address' is neither a mailbox, such as ann@example.org, nor a phone number"),
        (["--to="], "a recipient may not be empty"),
        (["--to=<>"], "a recipient may not be empty"),
        (["--to=ann"], "'ann' is neither a mailbox"),
        (["--to=+49"], "'+49' is not a phone number"),
        (["--to=ann@example.org", "--from=ann"], "'ann' is neither a mailbox, such as ann@example.org, nor empty"),
        (["--to=ann@example.org", "--from=" + "a" * 300 + "@example.org"], "local part is longer"),
        (["--to=ann@example.org", "--meta=x"], "'x' is not NAME=VALUE"),
        (["--to=ann@example.org", "--meta=x=\udcff"], "'x=\\udcff' is not all printable text"),
        (["--to=\udcff@example.org"], "'\\udcff@example.org' is neither a mailbox"),
        (["--to=ann@example.org", "--id=00"], "--id goes with --daemon and --json only: the message is in the queue"),
        (["--to=ann@example.org", "--daemon=http://x"], "--daemon is asked about an --id"),
        (["--to=ann@example.org", "--jsn"], "unrecognized arguments: --jsn"),
    ],
)
def test_a_wrong_command_line(message, capsys, arguments, said):
    """It says what would do, and where help is."""
    with pytest.raises(SystemExit) as caught:
        asked(message, *arguments)
    told = capsys.readouterr().err
    assert caught.value.code == 2
    assert said in told
    assert told.count("\n") == 1
    assert told.endswith("see `kumotwist explain --help`\n")


@pytest.mark.parametrize("other", ["message.eml", "--from=a@b.example", "--policy=p.lua", "--meta=a=b", "--http"])
def test_a_message_in_a_queue_is_named_by_its_id_alone(capsys, other):
    """Envelope, metadata and policy are its own."""
    assert (asked("--id=00", "--json").id, asked("--id=00").daemon) == ("00", "http://127.0.0.1:8000")
    with pytest.raises(SystemExit) as caught:
        asked("--id=00", other)
    assert caught.value.code == 2
    assert "--id goes with --daemon and --json only" in capsys.readouterr().err


def test_lines_end_as_on_the_wire(tmp_path):
    """A file of this machine has bare newlines; no client could send these."""
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE.replace(b"\r\n", b"\n"))
    assert asked(path, "--to=ann@example.org").content == MESSAGE


def test_standard_input(monkeypatch, capsys):
    """By `-`, the empty one included."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(MESSAGE)))
    assert asked("-", "--to=ann@example.org").content == MESSAGE
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit):
        asked("-", "--to=ann@example.org")
    assert "-: is empty" in capsys.readouterr().err


def test_what_has_no_headers_is_taken_and_remarked_on(tmp_path, capsys):
    """A server takes such a message as well; mostly the wrong file was named."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    assert asked(path, "--to=ann@example.org").content == b"\x89PNG\r\n\x1a\n\x00\xff"
    assert "does not begin with a header line" in capsys.readouterr().err


def test_a_phone_number_stands_where_the_send_api_puts_it(message):
    """In the envelope and in metadata; what the user sets goes before."""
    told = asked(message, "--to=+49 151 12345678", "--meta=tenant=acme")
    assert [one.email for one in told.to] == ["+4915112345678@sms"]
    assert told.meta == {"to": {"phone": "+4915112345678"}, "tenant": "acme"}
    assert asked(message, "--to=ann@example.org").meta == {}
