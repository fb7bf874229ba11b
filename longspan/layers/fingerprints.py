"""Hashes texts to 64 bits, the same on every machine: FarmHash's fingerprint, and SipHash with a key.

Sources: Google's FarmHash, farmhashna::Hash64; Aumasson and Bernstein, SipHash, 2012 (SipHash-2-4).
"""

from __future__ import annotations

from collections.abc import Sequence

_ALL = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def _fetch(data: bytes, start: int, size: int = 8) -> int:
    return int.from_bytes(data[start : start + size], "little")


def _right(value: int, shift: int) -> int:
    """The 64 bits rotated to the right."""
    value &= _ALL
    return ((value >> shift) | (value << (64 - shift))) & _ALL


def _mix(value: int) -> int:
    value &= _ALL
    return value ^ (value >> 47)


def _pair(u: int, v: int, factor: int) -> int:
    """FarmHash's HashLen16 of two words."""
    a = _mix((u ^ v) * factor)
    return (_mix((v ^ a) * factor) * factor) & _ALL


def fingerprint(text: str) -> int:
    """FarmHash's 64-bit fingerprint of a text in UTF-8, as tf.strings.to_hash_bucket_fast takes it.

    >>> fingerprint("") == 0x9AE16A3B2F90404F
    True
    """
    data = text.encode()
    size = len(data)
    if size > 64:
        return _long(data)
    factor = (_K2 + 2 * size) & _ALL
    if size > 16:
        return _medium(data, factor)
    if size >= 8:
        a, b = _fetch(data, 0) + _K2, _fetch(data, size - 8)
        return _pair((_right(b, 37) * factor + a) & _ALL, ((_right(a, 25) + b) * factor) & _ALL, factor)
    if size >= 4:
        return _pair(size + (_fetch(data, 0, 4) << 3), _fetch(data, size - 4, 4), factor)
    if size:
        y, z = data[0] + (data[size >> 1] << 8), size + (data[-1] << 2)
        return (_mix((y * _K2) & _ALL ^ (z * _K0) & _ALL) * _K2) & _ALL
    return _K2


def _medium(data: bytes, factor: int) -> int:
    """Of 17 to 64 bytes."""
    size = len(data)
    a, b = _fetch(data, 0) * (_K1 if size <= 32 else _K2), _fetch(data, 8)
    c, d = _fetch(data, size - 8) * factor, _fetch(data, size - 16) * _K2
    y = (_right(a + b, 43) + _right(c, 30) + d) & _ALL
    z = _pair(y, (a + _right(b + _K2, 18) + c) & _ALL, factor)
    if size <= 32:
        return z
    e, f = _fetch(data, 16) * factor, _fetch(data, 24)
    g, h = (y + _fetch(data, size - 32)) * factor, (z + _fetch(data, size - 24)) * factor
    return _pair((_right(e + f, 43) + _right(g, 30) + h) & _ALL, (e + _right(f + a, 18) + g) & _ALL, factor)


def _weak(data: bytes, start: int, a: int, b: int) -> tuple[int, int]:
    """FarmHash's WeakHashLen32WithSeeds of the 32 bytes from `start` on."""
    w, x, y, z = (_fetch(data, start + 8 * index) for index in range(4))
    a = (a + w) & _ALL
    b = _right(b + a + z, 21)
    c, a = a, (a + x + y) & _ALL
    return (a + z) & _ALL, (b + _right(a, 44) + c) & _ALL


def _long(data: bytes) -> int:
    """Of more than 64 bytes, 64 at a time."""
    size = len(data)
    y = (81 * _K1 + 113) & _ALL
    z = (_mix(y * _K2 + 113) * _K2) & _ALL
    v, w, x = (0, 0), (0, 0), (81 * _K2 + _fetch(data, 0)) & _ALL
    last = (size - 1) & 63
    for start in range(0, (size - 1) // 64 * 64, 64):
        x, y, z, v, w = _round(data, start, x, y, z, v, w, _K1, (1, 1))
    factor = (_K1 + ((z & 0xFF) << 1)) & _ALL
    first = (w[0] + last) & _ALL
    v = ((v[0] + first) & _ALL, v[1])
    w = ((first + v[0]) & _ALL, w[1])
    x, y, z, v, w = _round(data, size - 64, x, y, z, v, w, factor, (9, 9))
    left = (_pair(v[0], w[0], factor) + _mix(y) * _K0 + z) & _ALL
    return _pair(left, (_pair(v[1], w[1], factor) + x) & _ALL, factor)


def _round(
    data: bytes,
    at: int,
    x: int,
    y: int,
    z: int,
    v: tuple[int, int],
    w: tuple[int, int],
    factor: int,
    scales: tuple[int, int],
) -> tuple[int, int, int, tuple[int, int], tuple[int, int]]:
    """One round over 64 bytes; returns x, y, z, v, w with x and z swapped."""
    x = (_right(x + y + v[0] + _fetch(data, at + 8), 37) * factor) & _ALL
    y = (_right(y + v[1] + _fetch(data, at + 48), 42) * factor) & _ALL
    x ^= (w[1] * scales[0]) & _ALL
    y = (y + v[0] * scales[1] + _fetch(data, at + 40)) & _ALL
    z = (_right(z + w[0], 33) * factor) & _ALL
    v = _weak(data, at, (v[1] * factor) & _ALL, (x + w[0]) & _ALL)
    w = _weak(data, at + 32, (z + w[1]) & _ALL, (y + _fetch(data, at + 16)) & _ALL)
    return z, y, x, v, w


def keyed_hash(text: str, key: Sequence[int]) -> int:
    """SipHash-2-4 of a text in UTF-8, as tf.strings.to_hash_bucket_strong takes it; `key`: two numbers."""
    data = text.encode()
    k0, k1 = key[0] & _ALL, key[1] & _ALL
    start_words = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    state = [word ^ part for word, part in zip(start_words, (k0, k1, k0, k1), strict=True)]
    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 0xFF])
    for start in range(0, len(padded), 8):
        word = _fetch(padded, start)
        state[3] ^= word
        _sip(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _sip(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _sip(state: list[int], rounds: int) -> None:
    a, b, c, d = state
    for _ in range(rounds):
        a, c = (a + b) & _ALL, (c + d) & _ALL
        b, d = _right(b, 51) ^ a, _right(d, 48) ^ c
        a = _right(a, 32)
        c, a = (c + b) & _ALL, (a + d) & _ALL
        b, d = _right(b, 47) ^ c, _right(d, 43) ^ a
        c = _right(c, 32)
    state[:] = a, b, c, d


def hash_bucket(text: str, buckets: int, key: Sequence[int] | None) -> int:
    """A number from 0 to below `buckets`: of the fingerprint, or of the keyed hash where there is a key."""
    return (fingerprint(text) if key is None else keyed_hash(text, key)) % buckets
