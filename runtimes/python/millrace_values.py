"""What main returns, as JSON text (docs/runtime-protocol.md, "Values")."""

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import types
import uuid


def plain(value):
    """What JSON has no word for."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            return None
        return int(value) if value == value.to_integral_value() and abs(value) < 10**15 else float(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, types.GeneratorType) or isinstance(value, (map, filter, zip, range)):
        return list(value)
    for method in ("model_dump", "to_dict", "tolist", "item", "isoformat"):  # pydantic, pandas, numpy
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no JSON form")


encode_value = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain).encode


def finite(value):
    """The same value with null in the place of NaN and the infinities. Only for values that failed to print."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [finite(inner) for inner in value]
    if value is None or isinstance(value, (str, int)):
        return value
    return finite(plain(value))


class Unprintable(Exception):
    pass


def print_value(value):
    if value is None:
        return "null"
    try:
        try:
            text = encode_value(value)
        except ValueError as error:
            if "ircular" in str(error):
                raise
            text = encode_value(finite(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise Unprintable(f"what main returned cannot be written as JSON: {error}; return plain data")
    return text
