from . import shard_pb2 as _shard_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobSpec(_message.Message):
    __slots__ = ("job", "model", "dataset", "tiles_per_shard", "priority", "deadline_s")
    JOB_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    TILES_PER_SHARD_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    job: str
    model: str
    dataset: str
    tiles_per_shard: int
    priority: int
    deadline_s: float
    def __init__(self, job: _Optional[str] = ..., model: _Optional[str] = ..., dataset: _Optional[str] = ..., tiles_per_shard: _Optional[int] = ..., priority: _Optional[int] = ..., deadline_s: _Optional[float] = ...) -> None: ...

class Admitted(_message.Message):
    __slots__ = ("job", "tiles", "shards", "again", "waits_for", "until_sky_s", "admitted_sky_s")
    JOB_FIELD_NUMBER: _ClassVar[int]
    TILES_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    UNTIL_SKY_S_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_SKY_S_FIELD_NUMBER: _ClassVar[int]
    job: str
    tiles: int
    shards: int
    again: bool
    waits_for: str
    until_sky_s: float
    admitted_sky_s: float
    def __init__(self, job: _Optional[str] = ..., tiles: _Optional[int] = ..., shards: _Optional[int] = ..., again: _Optional[bool] = ..., waits_for: _Optional[str] = ..., until_sky_s: _Optional[float] = ..., admitted_sky_s: _Optional[float] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("job", "cursor")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    job: str
    cursor: int
    def __init__(self, job: _Optional[str] = ..., cursor: _Optional[int] = ...) -> None: ...

class WatchReply(_message.Message):
    __slots__ = ("row", "ended")
    ROW_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    row: Row
    ended: Ended
    def __init__(self, row: _Optional[_Union[Row, _Mapping]] = ..., ended: _Optional[_Union[Ended, _Mapping]] = ...) -> None: ...

class Row(_message.Message):
    __slots__ = ("cursor", "tiles", "shard", "settled_sky_s", "failure", "digest", "satellite", "attempt", "hops", "stages", "result", "down_laser_s", "down_ground_s")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TILES_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    SETTLED_SKY_S_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SATELLITE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DOWN_LASER_S_FIELD_NUMBER: _ClassVar[int]
    DOWN_GROUND_S_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    tiles: _containers.RepeatedScalarFieldContainer[int]
    shard: int
    settled_sky_s: float
    failure: str
    digest: bytes
    satellite: int
    attempt: int
    hops: int
    stages: _shard_pb2.Stages
    result: bytes
    down_laser_s: float
    down_ground_s: float
    def __init__(self, cursor: _Optional[int] = ..., tiles: _Optional[_Iterable[int]] = ..., shard: _Optional[int] = ..., settled_sky_s: _Optional[float] = ..., failure: _Optional[str] = ..., digest: _Optional[bytes] = ..., satellite: _Optional[int] = ..., attempt: _Optional[int] = ..., hops: _Optional[int] = ..., stages: _Optional[_Union[_shard_pb2.Stages, _Mapping]] = ..., result: _Optional[bytes] = ..., down_laser_s: _Optional[float] = ..., down_ground_s: _Optional[float] = ...) -> None: ...

class Ended(_message.Message):
    __slots__ = ("outcome", "ended_sky_s", "attempts", "duplicates", "conflicts")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ENDED_SKY_S_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    ended_sky_s: float
    attempts: int
    duplicates: int
    conflicts: int
    def __init__(self, outcome: _Optional[str] = ..., ended_sky_s: _Optional[float] = ..., attempts: _Optional[int] = ..., duplicates: _Optional[int] = ..., conflicts: _Optional[int] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Jobs(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job", "state", "done", "shards", "attempts", "priority")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: str
    done: int
    shards: int
    attempts: int
    priority: int
    def __init__(self, job: _Optional[str] = ..., state: _Optional[str] = ..., done: _Optional[int] = ..., shards: _Optional[int] = ..., attempts: _Optional[int] = ..., priority: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("node", "reachable", "shards_waiting", "shards_leased", "reason", "until_sky_s")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    SHARDS_WAITING_FIELD_NUMBER: _ClassVar[int]
    SHARDS_LEASED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNTIL_SKY_S_FIELD_NUMBER: _ClassVar[int]
    node: str
    reachable: bool
    shards_waiting: int
    shards_leased: int
    reason: str
    until_sky_s: float
    def __init__(self, node: _Optional[str] = ..., reachable: _Optional[bool] = ..., shards_waiting: _Optional[int] = ..., shards_leased: _Optional[int] = ..., reason: _Optional[str] = ..., until_sky_s: _Optional[float] = ...) -> None: ...
