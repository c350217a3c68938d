"""kumo.string, encode, digest, uuid, domain_map and cidr, as a policy uses them."""

import hashlib
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.luabox import LuaBox

from kumotwist.config.keysource import FileKey, LiteralKey
from kumotwist.core.errors import PolicyError
from kumotwist.core.ids import IdGenerator
from kumotwist.lua.lib.cidr import CidrLibrary, CidrMap
from kumotwist.lua.lib.digest import DigestLibrary
from kumotwist.lua.lib.domain_map import DomainMapLibrary
from kumotwist.lua.lib.encode import EncodeLibrary
from kumotwist.lua.lib.string import StringLibrary
from kumotwist.lua.lib.uuid import UuidLibrary


class Keys:
    """A key loader that knows literals and one file."""

    async def load(self, source):
        return source.key_data if isinstance(source, LiteralKey) else {FileKey("/k"): b"from file"}[source]


BOX = LuaBox(
    StringLibrary(),
    EncodeLibrary(),
    DigestLibrary(Keys()),
    UuidLibrary(IdGenerator(lambda: 1_700_000_000.0)),
    DomainMapLibrary(),
    CidrLibrary(),
)


@pytest.mark.parametrize(
    ("lua", "result"),
    [
        ("kumo.string.starts_with('hello', 'he')", True),
        ("kumo.string.starts_with('hello', 'lo')", False),
        ("kumo.string.ends_with('a\\xff', '\\xff')", True),
        ("kumo.string.replace('a.b.c', '.', '%')", "a%b%c"),
        ("kumo.string.split('a, b,', ',')", ["a", " b", ""]),
        ("kumo.string.split('ab', '')", ["", "a", "b", ""]),
        ("kumo.string.split('', ',')", [""]),
        ("kumo.string.trim(' \\t a b \\r\\n')", "a b"),
        ("kumo.encode.base64_encode('a\\xff\\0')", "Yf8A"),
        ("kumo.encode.base64_decode('Yf8A')", b"a\xff\0"),
        ("kumo.encode.hex_encode('a\\xff')", "61ff"),
        ("kumo.encode.hex_decode('61Ff')", b"a\xff"),
    ],
)
def test_strings_and_encodings(lua, result):
    """Text and binary strings come and go unharmed."""
    assert BOX.now(f"return {lua}") == result


@pytest.mark.parametrize(
    ("lua", "text"),
    [
        ("kumo.string.trim({})", "string must be a string, got a table"),
        ("kumo.string.split('a')", "wrong number of arguments: kumo.string.split"),
        ("kumo.encode.base64_decode('a*==')", "not base64"),
        ("kumo.encode.base64_decode('YQ')", "not base64"),
        ("kumo.encode.hex_decode('6g')", "not hex"),
        ("kumo.encode.hex_decode('616')", "not hex"),
        ("kumo.uuid.parse('nonsense')", "not a UUID: 'nonsense'"),
        ("kumo.cidr.make_map({['10.0.0.1/8'] = 1})", "host bits"),
        ("kumo.cidr.make_map({['nonsense'] = 1})", "nonsense"),
        ("kumo.digest.hmac_sha256({key = 'x'}, 'm')", "kumo.digest.hmac_sha256: must say where the key comes from"),
        ("kumo.digest.sha1(print)", "a function, which cannot be encoded"),
    ],
)
def test_mistakes_are_told_in_words(lua, text):
    """An error names the argument and the line of the policy."""
    with pytest.raises(PolicyError, match=text) as caught:
        BOX.now(f"return {lua}")
    assert "test.lua:1" in str(caught.value)


def test_digests():
    """The digest object offers its bytes in every encoding of KumoMTA's documentation."""
    BOX.now(r"""
    local d = kumo.digest.sha1 'hello'
    assert(tostring(d) == d.hex)
    assert(d.hex == 'aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d')
    assert(d.bytes == '\xaa\xf4\xc6\x1d\xdc\xc5\xe8\xa2\xda\xbe\xde\x0f\x3b\x48\x2c\xd9\xae\xa9\x43\x4d')
    assert(d.base32 == 'VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N')
    assert(d.base32_nopad == d.base32)
    assert(d.base32hex == 'LBQCC7ESONKA5MLURO7JMI1CR6NAIGQD')
    assert(d.base64 == 'qvTGHdzF6KLavt4PO0gs2a6pQ00=')
    assert(d.base64_nopad == 'qvTGHdzF6KLavt4PO0gs2a6pQ00')
    assert(d.base64url == 'qvTGHdzF6KLavt4PO0gs2a6pQ00=')
    assert(d.base64url_nopad == 'qvTGHdzF6KLavt4PO0gs2a6pQ00')
    assert(d == kumo.digest.sha1('hel', 'lo') and d ~= kumo.digest.sha1 'x')
    """)


def test_digests_take_bytes_and_tables():
    """Binary strings are hashed as they are, tables as JSON."""
    both = BOX.now("return kumo.digest.sha256('\\xff\\0').hex, kumo.digest.sha256({1, 'a'}).hex")
    assert both == (hashlib.sha256(b"\xff\0").hexdigest(), hashlib.sha256(b'[1,"a"]').hexdigest())


def test_hmac_takes_its_key_from_a_key_source():
    """The value of KumoMTA's documentation, and a key from a file."""
    BOX.now("""
    local key = { key_data = 'your key' }
    assert(kumo.digest.hmac_sha256(key, 'your message').hex
      == '87fc1cec5c02f0991ae80f50e98eb2eb5213d07fc40417682a74448ac1deb07c')
    assert(#kumo.digest.hmac_sha256('/k', 'm').bytes == 32)
    """)


def test_uuids():
    """A UUID has the spellings of KumoMTA's documentation."""
    BOX.now(r"""
    for _, text in ipairs { '69994630-3e27-11ef-91fc-cc28aa0a5c5a', '{69994630-3e27-11ef-91fc-cc28aa0a5c5a}',
      '699946303E2711ef91fccc28aa0a5c5a', 'urn:uuid:69994630-3e27-11ef-91fc-cc28aa0a5c5a' } do
      local u = kumo.uuid.parse(text)
      assert(tostring(u) == '69994630-3e27-11ef-91fc-cc28aa0a5c5a' and u.hyphenated == tostring(u))
      assert(u.simple == '699946303e2711ef91fccc28aa0a5c5a')
      assert(u.braced == '{69994630-3e27-11ef-91fc-cc28aa0a5c5a}')
      assert(u.urn == 'urn:uuid:69994630-3e27-11ef-91fc-cc28aa0a5c5a')
      assert(u.bytes == '\x69\x99\x46\x30\x3e\x27\x11\xef\x91\xfc\xcc\x28\xaa\x0a\x5c\x5a')
      assert(u == kumo.uuid.parse '699946303e2711ef91fccc28aa0a5c5a')
    end
    assert(kumo.uuid.new_v1().simple:sub(13, 13) == '1' and kumo.uuid.new_v4().simple:sub(13, 13) == '4')
    assert(kumo.uuid.new_v1() ~= kumo.uuid.new_v1() and kumo.uuid.new_v4() ~= kumo.uuid.new_v4())
    """)


def test_uuids_that_sort_by_time():
    """Versions 6 and 7 hold the time where RFC 9562 says, and each is greater than the one before, in a burst too."""
    made = BOX.now("""
    local sixes, sevens = {}, {}
    for i = 1, 50 do sixes[i], sevens[i] = kumo.uuid.new_v6().simple, kumo.uuid.new_v7().hyphenated end
    return { sixes = sixes, sevens = sevens }
    """)
    sixes, sevens = ([UUID(text) for text in made[key]] for key in ("sixes", "sevens"))
    assert {one.version for one in sixes} == {6}
    assert {one.version for one in sevens} == {7}
    assert {one.variant for one in (*sixes, *sevens)} == {RFC_4122}
    assert sixes == sorted(set(sixes))
    assert sevens == sorted(set(sevens))
    assert {one.int >> 80 for one in sevens} == {1_700_000_000_000}
    ticks = [(one.int >> 96) << 28 | (one.int >> 80 & 0xFFFF) << 12 | one.int >> 64 & 0x0FFF for one in sixes]
    assert {(one - 0x01B21DD213814000) // 10_000_000 for one in ticks} == {1_700_000_000}
    assert len({one.int & (1 << 60) - 1 for one in sevens}) == 50


def test_domain_maps():
    """Wildcards stand for every name below, exact names win, nil takes an entry away."""
    BOX.now("""
    local dmap = kumo.domain_map.new { ['*.woot.com'] = 123, ['example.com'] = 24 }
    dmap['*.example.com'] = 42
    dmap['explicit.Example.com'] = 'explicit'
    assert(dmap['lemon.example.com'] == 42 and dmap['a.b.EXAMPLE.com.'] == 42)
    assert(dmap['example.com'] == 24 and dmap['explicit.example.com'] == 'explicit')
    assert(dmap['woot.com'] == nil and dmap['aa.woot.com'] == 123 and dmap['not.set'] == nil and dmap[1] == nil)
    dmap['explicit.example.com'] = nil
    assert(dmap['explicit.example.com'] == 42 and #dmap == 3)
    local seen = 0
    for name, value in pairs(dmap) do seen = seen + value end
    assert(seen == 123 + 24 + 42)
    assert(kumo.domain_map.new()['x'] == nil)
    dmap['table.org'] = { a = { 1, 2 } }
    assert(dmap['table.org'].a[2] == 2)
    """)


def test_cidr_maps():
    """The narrowest network wins; addresses come with ports and brackets as policy meets them."""
    BOX.now("""
    local cmap = kumo.cidr.make_map { ['127.0.0.0/24'] = 'loopback', ['10.0.0.0/8'] = 'lan' }
    cmap['10.0.0.0/24'] = 'office'
    cmap['4.2.4.2'] = 4242
    cmap['2001:db8::/32'] = 'six'
    assert(cmap['127.0.0.1:25'] == 'loopback' and cmap['[127.0.0.1]'] == 'loopback')
    assert(cmap['10.0.0.42'] == 'office' and cmap['10.9.0.42'] == 'lan' and cmap['::ffff:10.9.0.1'] == 'lan')
    assert(cmap['4.2.4.2'] == 4242 and cmap['4.2.4.3'] == nil)
    assert(cmap['2001:db8::1'] == 'six' and cmap['[2001:db8::1]:25'] == 'six' and cmap['[IPv6:2001:db8::1]'] == 'six')
    assert(cmap['not.set'] == nil and cmap[''] == nil and cmap[7] == nil and cmap['10.0.0.42:x'] == nil)
    cmap['10.0.0.0/24'] = nil
    assert(cmap['10.0.0.42'] == 'lan' and #cmap == 4)
    """)


@given(st.dictionaries(st.ip_addresses(network="10.0.0.0/16"), st.integers(1, 32), max_size=12), st.data())
def test_the_narrowest_network_always_wins(networks, data):
    """Against the plain definition, for any set of networks."""
    import ipaddress

    found = {ipaddress.ip_network(f"{address}/{length}", strict=False) for address, length in networks.items()}
    cidrs = CidrMap()
    for network in found:
        cidrs.store(str(network), str(network))
    address = data.draw(st.ip_addresses(network="10.0.0.0/16"))
    holding = sorted((network for network in found if address in network), key=lambda one: one.prefixlen)
    assert cidrs.find(str(address)) == (str(holding[-1]) if holding else None)
