"""FARM_FINGERPRINT: the 64-bit fingerprint of Google's FarmHash (its `na` variant), in plain Python."""

from __future__ import annotations

from struct import unpack_from

_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_MASK = (1 << 64) - 1


def _rotate(value: int, shift: int) -> int:
    value &= _MASK
    return (value >> shift | value << (64 - shift)) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _word(data: bytes, place: int) -> int:
    return int(unpack_from("<Q", data, place)[0])


def _pair(u: int, v: int, factor: int) -> int:
    a = _mix((u ^ v) * factor)
    b = _mix(((v & _MASK) ^ a) * factor)
    return b * factor & _MASK


def _short(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    if size >= 8:
        a, b = _word(data, 0) + _K2, _word(data, size - 8)
        return _pair(_rotate(b, 37) * factor + a & _MASK, (_rotate(a, 25) + b) * factor & _MASK, factor)
    if size >= 4:
        head, tail = unpack_from("<I", data)[0], unpack_from("<I", data, size - 4)[0]
        return _pair(size + (head << 3), tail, factor)
    if size:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[-1] << 2)
        return _mix(y * _K2 ^ z * _K0) * _K2 & _MASK
    return _K2


def _medium(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * (_K1 if size <= 32 else _K2), _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d & _MASK
    z = _pair(y, a + _rotate(b + _K2, 18) + c & _MASK, factor)
    if size <= 32:
        return z
    e, f = _word(data, 16) * factor, _word(data, 24)
    g, h = (y + _word(data, size - 32)) * factor, (z + _word(data, size - 24)) * factor
    return _pair(_rotate(e + f, 43) + _rotate(g, 30) + h & _MASK, e + _rotate(f + a, 18) + g & _MASK, factor)


def _weak(data: bytes, place: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = unpack_from("<4Q", data, place)
    a += w
    b = _rotate(b + a + z, 21)
    start = a
    a += x + y
    b += _rotate(a, 44)
    return a + z & _MASK, b + start & _MASK


_State = tuple[int, int, int, tuple[int, int], tuple[int, int]]


def _round(data: bytes, place: int, state: _State, factor: int, weight: int) -> _State:
    x, y, z, v, w = state
    x = _rotate(x + y + v[0] + _word(data, place + 8), 37) * factor
    y = _rotate(y + v[1] + _word(data, place + 48), 42) * factor
    x = (x ^ w[1] * weight) & _MASK
    y = y + v[0] * weight + _word(data, place + 40) & _MASK
    z = _rotate(z + w[0], 33) * factor & _MASK
    v = _weak(data, place, v[1] * factor, x + w[0])
    w = _weak(data, place + 32, z + w[1], y + _word(data, place + 16))
    return z, y, x, v, w


def _long(data: bytes) -> int:
    y = 81 * _K1 + 113 & _MASK
    z = _mix(y * _K2 + 113) * _K2 & _MASK
    state: _State = (81 * _K2 + _word(data, 0) & _MASK, y, z, (0, 0), (0, 0))
    end = (len(data) - 1) // 64 * 64
    for place in range(0, end, 64):
        state = _round(data, place, state, _K1, 1)
    x, y, z, v, w = state
    factor = _K1 + ((z & 0xFF) << 1)
    first = w[0] + (len(data) - 1 & 63)
    v = (v[0] + first & _MASK, v[1])
    w = (first + v[0] & _MASK, w[1])
    x, y, z, v, w = _round(data, len(data) - 64, (x, y, z, v, w), factor, 9)
    low = _pair(v[0], w[0], factor) + _mix(y) * _K0 + z
    high = _pair(v[1], w[1], factor) + x
    return _pair(low & _MASK, high & _MASK, factor)


def fingerprint(data: bytes) -> int:
    """Return the fingerprint as the signed INT64 that FARM_FINGERPRINT gives."""
    size = len(data)
    value = _short(data) if size <= 16 else _medium(data) if size <= 64 else _long(data)
    return value - (1 << 64) if value >> 63 else value
