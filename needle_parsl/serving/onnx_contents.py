"""Whether an ONNX file holds all of its data: read from its bytes, so that nothing that it names is opened. Needs no package."""

from __future__ import annotations

from collections.abc import Iterator

from needle_parsl.errors import InputError

VARINT, EIGHT, SIZED, FOUR = 0, 1, 2, 5
"""How protocol buffers write a field."""
MODEL = {7: "graph", 20: "training", 25: "function"}
PARTS: dict[str, dict[int, str]] = {
    "model": MODEL,
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 6: "graph", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""In which fields of which message of onnx.proto the ones that matter are."""
EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Of a tensor: where its data is."""
DEEPEST = 50


def whole(model: bytes, path: str) -> bytes:
    """Insist on a file that holds all of its data; returns it.

    Raises:
        InputError: Data of it is in another file, or it is no ONNX file.
    """
    try:
        outside = _outside(memoryview(model), "model", 0)
    except (IndexError, ValueError) as error:
        raise InputError(f"{path}: is no ONNX file that can be read") from error
    if outside:
        raise InputError(f"{path}: keeps data in another file, which is not read; needle writes one file")
    return model


def _outside(message: memoryview, kind: str, depth: int) -> bool:
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    if kind == "tensor":
        return any(field == EXTERNAL_DATA or (field == DATA_LOCATION and value) for field, value in _fields(message))
    inside = PARTS[kind]
    parts = ((inside[field], value) for field, value in _fields(message) if field in inside)
    return any(_outside(value, part, depth + 1) for part, value in parts if isinstance(value, memoryview))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """List the numbers of the fields of a message with their content."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        field, how = tag >> 3, tag & 7
        if how == VARINT:
            value, place = _varint(message, place)
            yield field, value
            continue
        if how == SIZED:
            size, place = _varint(message, place)
        elif how in (EIGHT, FOUR):
            size = 8 if how == EIGHT else 4
        else:
            raise ValueError(f"unknown wire type {how}")
        if place + size > len(message):
            raise ValueError("truncated")
        yield field, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 70:
            raise ValueError("a number without an end")
