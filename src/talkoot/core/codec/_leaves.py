"""Values of the standard library that hold no other values: to their payload and back.

A payload is the shortest that tells them apart. `read` need not refuse every payload that `pack` does not
make, only all those from which no value can be had: `decode` compares what it read with its own encoding.
"""

import datetime as dt
import decimal
import struct
import uuid
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec

from talkoot.core.codec import _marks
from talkoot.core.errors import CodecError

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_TWO_DOUBLES = struct.Struct(">dd")
_MICROSECOND = dt.timedelta(microseconds=1)
_NUMERALS = decimal.Context(
    prec=decimal.MAX_PREC,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    capitals=1,
    clamp=0,
    traps=[decimal.InvalidOperation],
)
"""Our own context: the settings of the process (capitals, traps) change neither text nor value."""


def big_int(value: int) -> bytes:
    """Two's complement, big-endian, shortest."""
    return value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True)


def _read_big_int(payload: memoryview) -> int:
    return int.from_bytes(payload, "big", signed=True)


def _complex(value: complex) -> bytes:
    real, imag = _double(value.real), _double(value.imag)
    return real + imag


def _double(value: float) -> bytes:
    return _marks.NAN if value != value else struct.pack(">d", value)


def _read_complex(payload: memoryview) -> complex:
    if len(payload) != _TWO_DOUBLES.size:
        raise CodecError("a complex number has 16 bytes")
    return complex(*_TWO_DOUBLES.unpack(payload))


def _zone(zone: dt.tzinfo | None) -> tuple[int | None, str | None]:
    if zone is None:
        return None, None
    if type(zone) is not dt.timezone:
        raise CodecError(f"time zone {str(zone)[:40]!r} is not a fixed offset; return it .astimezone(datetime.timezone.utc)")
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
    return offset // _MICROSECOND, name[0] if name else None


def _read_zone(offset: int | None, name: str | None) -> dt.timezone | None:
    if offset is None:
        return None
    delta = dt.timedelta(microseconds=offset)
    return dt.timezone(delta) if name is None else dt.timezone(delta, name)


def _datetime(value: dt.datetime) -> bytes:
    day = (value.year, value.month, value.day)
    return _pack((*day, value.hour, value.minute, value.second, value.microsecond, value.fold, *_zone(value.tzinfo)))


def _read_datetime(payload: memoryview) -> dt.datetime:
    year, month, day, hour, minute, second, micro, fold, offset, name = _unpack(payload)
    return dt.datetime(year, month, day, hour, minute, second, micro, _read_zone(offset, name), fold=fold)


def _date(value: dt.date) -> bytes:
    return _pack((value.year, value.month, value.day))


def _read_date(payload: memoryview) -> dt.date:
    return dt.date(*_unpack(payload))


def _time(value: dt.time) -> bytes:
    return _pack((value.hour, value.minute, value.second, value.microsecond, value.fold, *_zone(value.tzinfo)))


def _read_time(payload: memoryview) -> dt.time:
    hour, minute, second, micro, fold, offset, name = _unpack(payload)
    return dt.time(hour, minute, second, micro, _read_zone(offset, name), fold=fold)


def _timedelta(value: dt.timedelta) -> bytes:
    return _pack((value.days, value.seconds, value.microseconds))


def _read_timedelta(payload: memoryview) -> dt.timedelta:
    return dt.timedelta(*_unpack(payload))


def _decimal(value: decimal.Decimal) -> bytes:
    return _NUMERALS.to_sci_string(value).encode()


def _read_decimal(payload: memoryview) -> decimal.Decimal:
    return decimal.Decimal(str(payload, "ascii"), _NUMERALS)


def _fraction(value: Fraction) -> bytes:
    numerator, denominator = big_int(int(value.numerator)), big_int(int(value.denominator))
    if max(len(numerator), len(denominator)) > _marks.MAX_FRACTION_BYTES:
        raise CodecError("a fraction of this size is not encoded; return its numerator and denominator")
    return _pack((numerator, denominator))


def _read_fraction(payload: memoryview) -> Fraction:
    numerator, denominator = _unpack(payload)
    if max(len(numerator), len(denominator)) > _marks.MAX_FRACTION_BYTES:
        raise CodecError("a fraction that is too long")
    return Fraction(int.from_bytes(numerator, "big", signed=True), int.from_bytes(denominator, "big", signed=True))


def _uuid(value: uuid.UUID) -> bytes:
    return value.bytes


def _read_uuid(payload: memoryview) -> uuid.UUID:
    return uuid.UUID(bytes=bytes(payload))


PACK: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    complex: (_marks.COMPLEX, _complex),
    bytearray: (_marks.BYTEARRAY, bytes),
    dt.datetime: (_marks.DATETIME, _datetime),
    dt.date: (_marks.DATE, _date),
    dt.time: (_marks.TIME, _time),
    dt.timedelta: (_marks.TIMEDELTA, _timedelta),
    decimal.Decimal: (_marks.DECIMAL, _decimal),
    Fraction: (_marks.FRACTION, _fraction),
    uuid.UUID: (_marks.UUID, _uuid),
}

READ: dict[int, Callable[[memoryview], object]] = {
    _marks.BIG_INT: _read_big_int,
    _marks.COMPLEX: _read_complex,
    _marks.BYTEARRAY: bytearray,
    _marks.DATETIME: _read_datetime,
    _marks.DATE: _read_date,
    _marks.TIME: _read_time,
    _marks.TIMEDELTA: _read_timedelta,
    _marks.DECIMAL: _read_decimal,
    _marks.FRACTION: _read_fraction,
    _marks.UUID: _read_uuid,
}
