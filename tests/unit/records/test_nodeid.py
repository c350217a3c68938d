"""The node's id."""

import uuid

import pytest

from kumotwist.core.errors import ConfigError
from kumotwist.records.nodeid import node_id

ID = "6f2b5f5e-3b5c-4b1e-9a53-0c3b0f0f1a2b"


def test_the_id_is_made_once_and_kept(tmp_path):
    """A node keeps its id over restarts, and all its workers have the same."""
    first = node_id(tmp_path / "state", {})
    assert str(uuid.UUID(first)) == first
    assert node_id(tmp_path / "state", {}) == first
    assert [path.name for path in (tmp_path / "state").iterdir()] == [".nodeid"]


def test_environment_and_file_come_first(tmp_path):
    """KUMO_NODE_ID, then the file of KUMO_NODE_ID_PATH, then our own."""
    path = tmp_path / "there"
    path.write_text(f"{ID.upper()}\n")
    assert node_id(tmp_path, {"KUMO_NODE_ID_PATH": str(path)}) == ID
    other = str(uuid.uuid4())
    assert node_id(tmp_path, {"KUMO_NODE_ID": other, "KUMO_NODE_ID_PATH": str(path)}) == other
    assert not (tmp_path / ".nodeid").exists()


def test_what_is_no_uuid_is_refused(tmp_path):
    """A broken id is named, with where it stands."""
    with pytest.raises(ConfigError, match="KUMO_NODE_ID holds 'x'"):
        node_id(tmp_path, {"KUMO_NODE_ID": "x"})
    with pytest.raises(ConfigError, match="cannot use node id file"):
        node_id(tmp_path, {"KUMO_NODE_ID_PATH": str(tmp_path)})
