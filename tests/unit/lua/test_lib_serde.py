"""kumo.serde: JSON, TOML and YAML in a policy's hands."""

import json
import tomllib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.luabox import LuaBox

from kumotwist.core.errors import PolicyError
from kumotwist.lua.lib.plain import MAX_DEPTH
from kumotwist.lua.lib.serde import SerdeAliases, SerdeLibrary
from kumotwist.lua.lib.yamlcore import parse_yaml, write_yaml

SERDE = SerdeLibrary()
BOX = LuaBox(SERDE, SerdeAliases(SERDE))

documents = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(documents)
def test_json_round_trip(value):
    """What was encoded is parsed back the same, pretty or not."""
    assert SERDE.json_parse(SERDE.json_encode(value)) == value
    assert json.loads(SERDE.json_encode_pretty(value)) == value


@given(st.dictionaries(st.text(max_size=8), documents, max_size=4))
def test_toml_round_trip(value):
    """A table survives the way through TOML."""
    assert tomllib.loads(SERDE.toml_encode(value)) == value
    assert SERDE.toml_parse(SERDE.toml_encode(value)) == value


@given(documents)
def test_yaml_round_trip(value):
    """A value survives the way through YAML, by our reader and by one of YAML 1.1."""
    assert parse_yaml(write_yaml(value)) == value


@given(st.text())
def test_any_text_is_a_text_in_yaml(value):
    """No text turns into a number or a truth value on the way, whatever reads it."""
    assert parse_yaml(write_yaml(value)) == value
    assert yaml.safe_load(write_yaml(value)) == value


def test_in_lua():
    """The examples of KumoMTA's documentation, and the older names in kumo itself."""
    BOX.now("""
    assert(kumo.serde.json_encode { 1, 2, { a = 'x' } } == '[1,2,{"a":"x"}]')
    assert(kumo.json_encode({}) == '{}' and kumo.json_encode('ü') == '"ü"' and kumo.json_encode(1.5) == '1.5')
    assert(kumo.json_encode_pretty({ a = { 1 } }) == '{\\n  "a": [\\n    1\\n  ]\\n}')
    local parsed = kumo.json_parse '{"a": [1, 2.5, true, null], "n": null, "s": "x"}'
    assert(parsed.a[1] == 1 and parsed.a[2] == 2.5 and parsed.a[3] == true and parsed.n == nil and parsed.s == 'x')
    assert(math.type(parsed.a[1]) == 'integer')
    local toml = kumo.toml_parse '[owner]\\nname = "Tom"\\ndob = 1979-05-27T07:32:00Z\\nports = [1, 2]'
    assert(toml.owner.name == 'Tom' and toml.owner.ports[2] == 2 and toml.owner.dob == '1979-05-27T07:32:00+00:00')
    assert(kumo.toml_encode { foo = 'bar' } == 'foo = "bar"\\n')
    local yaml = kumo.serde.yaml_parse 'a: no\\nb: 010\\nc: [1.5, ~, 0x10, 0o17]\\nd: 2001-01-01\\ne: 12:30\\nf: true'
    assert(yaml.a == 'no' and yaml.b == 10 and yaml.c[1] == 1.5 and yaml.c[3] == 16 and yaml.c[4] == 15)
    assert(yaml.d == '2001-01-01' and yaml.e == '12:30' and yaml.f == true)
    assert(kumo.serde.yaml_encode { a = { 'x' } } == 'a:\\n- x\\n')
    """)


@pytest.mark.parametrize(
    ("lua", "text"),
    [
        ("kumo.json_parse('{')", "not JSON"),
        ("kumo.json_parse('[' .. string.rep('[', 100000))", "not JSON"),
        ("kumo.json_parse('\\xff')", "must be UTF-8"),
        ("kumo.json_encode(print)", "holds a function"),
        ("kumo.json_encode({a = '\\xff'})", "binary string"),
        ("kumo.toml_parse('a = ')", "not TOML"),
        ("kumo.toml_encode({1})", "needs a table with named entries"),
        ("kumo.serde.yaml_parse('a: [')", "not YAML"),
        ("kumo.serde.yaml_parse('a: !!python/object:os.system x')", "not YAML"),
        ("kumo.json_load('/nowhere.json')", "/nowhere.json: No such file"),
        ("kumo.toml_load('/')", "/: Is a directory"),
    ],
)
def test_mistakes_are_told_in_words(lua, text):
    """What cannot be read or written says so, with the line of the policy."""
    with pytest.raises(PolicyError, match=text):
        BOX.now(f"return {lua}")


def test_files(tmp_path):
    """A file is read whole, and an error in it names it."""
    (tmp_path / "a.json").write_text('\ufeff{"x": 1}', encoding="utf-8")
    (tmp_path / "a.toml").write_text("x = 2", encoding="utf-8")
    (tmp_path / "a.yaml").write_text("x: 3", encoding="utf-8")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    loaded = BOX.now(
        "local d = ...; return kumo.json_load(d .. '/a.json').x, kumo.toml_load(d .. '/a.toml').x,"
        " kumo.serde.yaml_load(d .. '/a.yaml').x",
        str(tmp_path),
    )
    assert loaded == (1, 2, 3)
    with pytest.raises(PolicyError, match=r"bad\.json: not JSON"):
        BOX.now("kumo.json_load(...)", str(tmp_path / "bad.json"))
    with pytest.raises(PolicyError, match=r"binary\.yaml is not UTF-8"):
        BOX.now("kumo.serde.yaml_load(...)", str(tmp_path / "binary.yaml"))


def test_a_few_lines_of_yaml_cannot_fill_the_memory():
    """Aliases that repeat aliases are counted as what they grow into."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(ValueError, match="more than 1000000 values"):
        parse_yaml(bomb)


def test_a_document_that_contains_itself_is_refused():
    """A YAML alias to its own list ends."""
    with pytest.raises(ValueError, match=f"nested deeper than {MAX_DEPTH}"):
        parse_yaml("&a [*a]")
