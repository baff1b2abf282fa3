"""Protobuf messages made at import, with the fields that are used and no others.

With them a document is parsed only as deep as it is needed, and signBlob needs no package of its own.
They are wire-compatible with the published messages, since protobuf skips fields that it does not
know, and a message inside another one is bytes on the wire.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

BYTES_BY_NAME = "map<string, bytes>"
_SCALARS = {
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
}

# The number and the type of each field: a scalar, BYTES_BY_NAME, or another message of these.
Fields = Mapping[str, tuple[int, str]]
_MAP_ENTRY: Fields = {"key": (1, "string"), "value": (2, "bytes")}


def message_classes(package: str, messages: Mapping[str, Fields]) -> tuple[Any, ...]:
    """Return the classes of these messages, in their order."""
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        _add_fields(file.message_type.add(name=name), f".{package}", fields)
    pool = DescriptorPool()
    pool.Add(file)
    return tuple(GetMessageClass(pool.FindMessageTypeByName(f"{package}.{n}")) for n in messages)


def _add_fields(message: DescriptorProto, scope: str, fields: Fields) -> None:
    for name, (number, kind) in fields.items():
        field = message.field.add(name=name, number=number)
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        elif kind == BYTES_BY_NAME:  # on the wire, a map is repeated entries
            entry = message.nested_type.add(name=f"{name.title()}Entry")
            entry.options.map_entry = True
            _add_fields(entry, scope, _MAP_ENTRY)
            field.label, field.type = (
                FieldDescriptorProto.LABEL_REPEATED,
                FieldDescriptorProto.TYPE_MESSAGE,
            )
            field.type_name = f"{scope}.{message.name}.{entry.name}"
        else:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f"{scope}.{kind}"
