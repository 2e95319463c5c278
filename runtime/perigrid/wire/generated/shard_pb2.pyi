from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Shard(_message.Message):
    __slots__ = ("index", "capture", "tiles", "rows", "columns")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    TILES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    index: int
    capture: str
    tiles: _containers.RepeatedScalarFieldContainer[int]
    rows: _containers.RepeatedScalarFieldContainer[int]
    columns: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, index: _Optional[int] = ..., capture: _Optional[str] = ..., tiles: _Optional[_Iterable[int]] = ..., rows: _Optional[_Iterable[int]] = ..., columns: _Optional[_Iterable[int]] = ...) -> None: ...

class Stages(_message.Message):
    __slots__ = ("arrived_sky_s", "queue_s", "inference_s", "desk_wait_s", "cpu_s", "sent_sky_s", "up_laser_s", "up_ground_s", "up_links", "up_times")
    ARRIVED_SKY_S_FIELD_NUMBER: _ClassVar[int]
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_S_FIELD_NUMBER: _ClassVar[int]
    DESK_WAIT_S_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    SENT_SKY_S_FIELD_NUMBER: _ClassVar[int]
    UP_LASER_S_FIELD_NUMBER: _ClassVar[int]
    UP_GROUND_S_FIELD_NUMBER: _ClassVar[int]
    UP_LINKS_FIELD_NUMBER: _ClassVar[int]
    UP_TIMES_FIELD_NUMBER: _ClassVar[int]
    arrived_sky_s: float
    queue_s: float
    inference_s: float
    desk_wait_s: float
    cpu_s: float
    sent_sky_s: float
    up_laser_s: float
    up_ground_s: float
    up_links: _containers.RepeatedScalarFieldContainer[int]
    up_times: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, arrived_sky_s: _Optional[float] = ..., queue_s: _Optional[float] = ..., inference_s: _Optional[float] = ..., desk_wait_s: _Optional[float] = ..., cpu_s: _Optional[float] = ..., sent_sky_s: _Optional[float] = ..., up_laser_s: _Optional[float] = ..., up_ground_s: _Optional[float] = ..., up_links: _Optional[_Iterable[int]] = ..., up_times: _Optional[_Iterable[float]] = ...) -> None: ...
