from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Done(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class StateRequest(_message.Message):
    __slots__ = ("errors",)
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    errors: bool
    def __init__(self, errors: _Optional[bool] = ...) -> None: ...

class DownRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class LoadedRequest(_message.Message):
    __slots__ = ("send_copies",)
    SEND_COPIES_FIELD_NUMBER: _ClassVar[int]
    send_copies: bool
    def __init__(self, send_copies: _Optional[bool] = ...) -> None: ...

class NodeRequest(_message.Message):
    __slots__ = ("node", "lose_flash")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LOSE_FLASH_FIELD_NUMBER: _ClassVar[int]
    node: str
    lose_flash: bool
    def __init__(self, node: _Optional[str] = ..., lose_flash: _Optional[bool] = ...) -> None: ...

class LinkRequest(_message.Message):
    __slots__ = ("a", "b", "one_way")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    ONE_WAY_FIELD_NUMBER: _ClassVar[int]
    a: str
    b: str
    one_way: bool
    def __init__(self, a: _Optional[str] = ..., b: _Optional[str] = ..., one_way: _Optional[bool] = ...) -> None: ...

class OverlayRequest(_message.Message):
    __slots__ = ("version", "cuts", "dead")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    version: int
    cuts: _containers.RepeatedCompositeFieldContainer[Cut]
    dead: _containers.RepeatedCompositeFieldContainer[Dead]
    def __init__(self, version: _Optional[int] = ..., cuts: _Optional[_Iterable[_Union[Cut, _Mapping]]] = ..., dead: _Optional[_Iterable[_Union[Dead, _Mapping]]] = ...) -> None: ...

class Cut(_message.Message):
    __slots__ = ("from_node", "to_node", "since_sky_s")
    FROM_NODE_FIELD_NUMBER: _ClassVar[int]
    TO_NODE_FIELD_NUMBER: _ClassVar[int]
    SINCE_SKY_S_FIELD_NUMBER: _ClassVar[int]
    from_node: int
    to_node: int
    since_sky_s: float
    def __init__(self, from_node: _Optional[int] = ..., to_node: _Optional[int] = ..., since_sky_s: _Optional[float] = ...) -> None: ...

class Dead(_message.Message):
    __slots__ = ("node", "since_sky_s")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SINCE_SKY_S_FIELD_NUMBER: _ClassVar[int]
    node: int
    since_sky_s: float
    def __init__(self, node: _Optional[int] = ..., since_sky_s: _Optional[float] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("source", "destination", "count", "interval_s", "payload_bytes", "bulk", "start_sky_s")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    START_SKY_S_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    count: int
    interval_s: float
    payload_bytes: int
    bulk: bool
    start_sky_s: float
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., count: _Optional[int] = ..., interval_s: _Optional[float] = ..., payload_bytes: _Optional[int] = ..., bulk: _Optional[bool] = ..., start_sky_s: _Optional[float] = ...) -> None: ...

class ExposeRequest(_message.Message):
    __slots__ = ("satellite", "sensor_json", "number", "times_s", "untraced")
    SATELLITE_FIELD_NUMBER: _ClassVar[int]
    SENSOR_JSON_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIMES_S_FIELD_NUMBER: _ClassVar[int]
    UNTRACED_FIELD_NUMBER: _ClassVar[int]
    satellite: str
    sensor_json: str
    number: int
    times_s: _containers.RepeatedScalarFieldContainer[float]
    untraced: bool
    def __init__(self, satellite: _Optional[str] = ..., sensor_json: _Optional[str] = ..., number: _Optional[int] = ..., times_s: _Optional[_Iterable[float]] = ..., untraced: _Optional[bool] = ...) -> None: ...

class SkipRequest(_message.Message):
    __slots__ = ("until_sky_s",)
    UNTIL_SKY_S_FIELD_NUMBER: _ClassVar[int]
    until_sky_s: float
    def __init__(self, until_sky_s: _Optional[float] = ...) -> None: ...

class HostState(_message.Message):
    __slots__ = ("name", "pid", "frames", "frames_late", "inferences", "inferences_late", "worst_frame_late_s", "worst_inference_late_s", "nodes", "release_errors_s", "arrivals", "captures", "payload_pid", "busy_cpu_s", "frames_hold", "inferences_hold", "frames_lost", "frames_dropped", "frames_refused")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_LATE_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_LATE_FIELD_NUMBER: _ClassVar[int]
    WORST_FRAME_LATE_S_FIELD_NUMBER: _ClassVar[int]
    WORST_INFERENCE_LATE_S_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ERRORS_S_FIELD_NUMBER: _ClassVar[int]
    ARRIVALS_FIELD_NUMBER: _ClassVar[int]
    CAPTURES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_PID_FIELD_NUMBER: _ClassVar[int]
    BUSY_CPU_S_FIELD_NUMBER: _ClassVar[int]
    FRAMES_HOLD_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_HOLD_FIELD_NUMBER: _ClassVar[int]
    FRAMES_LOST_FIELD_NUMBER: _ClassVar[int]
    FRAMES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_REFUSED_FIELD_NUMBER: _ClassVar[int]
    name: str
    pid: int
    frames: int
    frames_late: int
    inferences: int
    inferences_late: int
    worst_frame_late_s: float
    worst_inference_late_s: float
    nodes: _containers.RepeatedScalarFieldContainer[str]
    release_errors_s: _containers.RepeatedScalarFieldContainer[float]
    arrivals: _containers.RepeatedCompositeFieldContainer[Arrival]
    captures: _containers.RepeatedScalarFieldContainer[str]
    payload_pid: int
    busy_cpu_s: float
    frames_hold: _containers.RepeatedScalarFieldContainer[int]
    inferences_hold: _containers.RepeatedScalarFieldContainer[int]
    frames_lost: int
    frames_dropped: int
    frames_refused: int
    def __init__(self, name: _Optional[str] = ..., pid: _Optional[int] = ..., frames: _Optional[int] = ..., frames_late: _Optional[int] = ..., inferences: _Optional[int] = ..., inferences_late: _Optional[int] = ..., worst_frame_late_s: _Optional[float] = ..., worst_inference_late_s: _Optional[float] = ..., nodes: _Optional[_Iterable[str]] = ..., release_errors_s: _Optional[_Iterable[float]] = ..., arrivals: _Optional[_Iterable[_Union[Arrival, _Mapping]]] = ..., captures: _Optional[_Iterable[str]] = ..., payload_pid: _Optional[int] = ..., busy_cpu_s: _Optional[float] = ..., frames_hold: _Optional[_Iterable[int]] = ..., inferences_hold: _Optional[_Iterable[int]] = ..., frames_lost: _Optional[int] = ..., frames_dropped: _Optional[int] = ..., frames_refused: _Optional[int] = ...) -> None: ...

class Arrival(_message.Message):
    __slots__ = ("source", "number", "sent_s", "due_s", "arrived_s", "bytes")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SENT_S_FIELD_NUMBER: _ClassVar[int]
    DUE_S_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_S_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    source: int
    number: int
    sent_s: float
    due_s: float
    arrived_s: float
    bytes: int
    def __init__(self, source: _Optional[int] = ..., number: _Optional[int] = ..., sent_s: _Optional[float] = ..., due_s: _Optional[float] = ..., arrived_s: _Optional[float] = ..., bytes: _Optional[int] = ...) -> None: ...

class HostStates(_message.Message):
    __slots__ = ("states",)
    STATES_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[HostState]
    def __init__(self, states: _Optional[_Iterable[_Union[HostState, _Mapping]]] = ...) -> None: ...

class RunStatus(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...
