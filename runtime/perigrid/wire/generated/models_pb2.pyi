from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class PushModelRequest(_message.Message):
    __slots__ = ("sha256", "satellites", "pinned")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SATELLITES_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    satellites: _containers.RepeatedScalarFieldContainer[str]
    pinned: bool
    def __init__(self, sha256: _Optional[str] = ..., satellites: _Optional[_Iterable[str]] = ..., pinned: _Optional[bool] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("rehash",)
    REHASH_FIELD_NUMBER: _ClassVar[int]
    rehash: bool
    def __init__(self, rehash: _Optional[bool] = ...) -> None: ...

class ModelTable(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...
