"""The maildir channel: whole files only, in the directory that the operator meant and no other."""

import stat

import pytest
import pytest_twisted
from support.fakes_egress import BODY, make_channels, make_message, make_request
from twisted.internet import reactor

from kumotwist.config.queue import MaildirProtocol
from kumotwist.core.errors import ConfigError
from kumotwist.core.outcome import Verdict


def session_for(path, **options):
    channel = make_channels(reactor).channel_for(MaildirProtocol(maildir_path=str(path), **options))
    return channel.open(make_request())


@pytest_twisted.ensureDeferred
async def test_each_recipient_gets_a_file(tmp_path):
    """A message appears in `new`, complete, once for each recipient, and nothing stays in `tmp`."""
    session = session_for(f"{tmp_path}/{{{{ meta.tenant }}}}/{{{{ domain_part }}}}/{{{{ local_part }}}}")
    message = make_message("a@one.test", "b@two.test", meta={"tenant": "t"})
    (outcomes,) = await session.deliver([message])
    assert [one.verdict for one in outcomes] == [Verdict.DELIVERED] * 2
    for place, outcome in zip(("t/one.test/a", "t/two.test/b"), outcomes, strict=True):
        (file,) = (tmp_path / place / "new").iterdir()
        assert file.read_bytes() == BODY
        assert outcome.response.to_line() == f"200 wrote to maildir with id={file.name}"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert list((tmp_path / place / "tmp").iterdir()) == []
        assert (tmp_path / place / "cur").is_dir()


@pytest_twisted.ensureDeferred
async def test_modes_can_be_chosen(tmp_path):
    """`dir_mode` and `file_mode` decide who may read."""
    session = session_for(tmp_path / "m", dir_mode=0o750, file_mode=0o640)
    await session.deliver([make_message()])
    (file,) = (tmp_path / "m" / "new").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "m" / "new").stat().st_mode) == 0o750


@pytest.mark.parametrize("tenant", ["../../etc", "a/b", "..", ".", "x\0y"])
@pytest_twisted.ensureDeferred
async def test_nobody_climbs_out_of_the_maildir(tmp_path, tenant):
    """A value from a message can name one directory, never a path."""
    session = session_for(f"{tmp_path}/in/{{{{ meta.tenant }}}}")
    ((outcome,),) = await session.deliver([make_message(meta={"tenant": "ok", "x": 1})])
    assert outcome.verdict is Verdict.DELIVERED
    message = make_message(meta={"tenant": tenant})
    ((outcome,),) = await session.deliver([message])
    assert outcome.verdict is Verdict.TRANSIENT
    assert outcome.response.code == 400
    assert [one.name for one in (tmp_path / "in").iterdir()] == ["ok"]


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_written_is_retried(tmp_path):
    """A path that cannot be made, and a variable that is not there, keep the message."""
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "sub", f"{tmp_path}/{{{{ meta.missing }}}}"):
        ((outcome,),) = await session_for(path).deliver([make_message()])
        assert outcome.verdict is Verdict.TRANSIENT
        assert outcome.response.content.startswith("KumoMTA internal: error in deliver_message: maildir: ")


def test_a_template_that_does_not_parse_is_a_config_error():
    """A typo in maildir_path is the operator's to mend, and says where."""
    with pytest.raises(ConfigError, match="maildir_path"):
        session_for("/x/{{ oops")
