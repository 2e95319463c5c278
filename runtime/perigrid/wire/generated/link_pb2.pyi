from . import shard_pb2 as _shard_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Link(_message.Message):
    __slots__ = ("a", "b", "kind")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    a: int
    b: int
    kind: int
    def __init__(self, a: _Optional[int] = ..., b: _Optional[int] = ..., kind: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("version", "source", "destination", "priority", "transfer", "trace", "epoch", "boot", "custody", "floor", "hop_limit", "hops", "offset", "total", "digest", "met", "payload_length", "payload_crc32", "link", "from_node", "sent_s", "due_s", "sequence", "laser_s", "ground_s", "trace_parent", "trail_links", "trail_times", "assign", "result", "failed", "settled", "withdraw", "hello", "alive", "replica", "advert", "ack", "probe", "part", "observation", "model_offer", "model_have", "model_ask", "model_piece", "model_query", "model_state", "own_pass", "tenant", "policy", "signature")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    CUSTODY_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    HOP_LIMIT_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_LENGTH_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_CRC32_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    FROM_NODE_FIELD_NUMBER: _ClassVar[int]
    SENT_S_FIELD_NUMBER: _ClassVar[int]
    DUE_S_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LASER_S_FIELD_NUMBER: _ClassVar[int]
    GROUND_S_FIELD_NUMBER: _ClassVar[int]
    TRACE_PARENT_FIELD_NUMBER: _ClassVar[int]
    TRAIL_LINKS_FIELD_NUMBER: _ClassVar[int]
    TRAIL_TIMES_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    ADVERT_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_OFFER_FIELD_NUMBER: _ClassVar[int]
    MODEL_HAVE_FIELD_NUMBER: _ClassVar[int]
    MODEL_ASK_FIELD_NUMBER: _ClassVar[int]
    MODEL_PIECE_FIELD_NUMBER: _ClassVar[int]
    MODEL_QUERY_FIELD_NUMBER: _ClassVar[int]
    MODEL_STATE_FIELD_NUMBER: _ClassVar[int]
    OWN_PASS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    version: int
    source: int
    destination: int
    priority: int
    transfer: int
    trace: int
    epoch: int
    boot: int
    custody: int
    floor: int
    hop_limit: int
    hops: int
    offset: int
    total: int
    digest: bytes
    met: _containers.RepeatedCompositeFieldContainer[Link]
    payload_length: int
    payload_crc32: int
    link: Link
    from_node: int
    sent_s: float
    due_s: float
    sequence: int
    laser_s: float
    ground_s: float
    trace_parent: bytes
    trail_links: _containers.RepeatedScalarFieldContainer[int]
    trail_times: _containers.RepeatedScalarFieldContainer[float]
    assign: Assign
    result: Result
    failed: Failed
    settled: Settled
    withdraw: Withdraw
    hello: Hello
    alive: Alive
    replica: Replica
    advert: LinkAdvert
    ack: CustodyAck
    probe: Probe
    part: Part
    observation: Observation
    model_offer: ModelOffer
    model_have: ModelHave
    model_ask: ModelAsk
    model_piece: ModelPiece
    model_query: ModelQuery
    model_state: ModelState
    own_pass: bool
    tenant: bytes
    policy: bytes
    signature: bytes
    def __init__(self, version: _Optional[int] = ..., source: _Optional[int] = ..., destination: _Optional[int] = ..., priority: _Optional[int] = ..., transfer: _Optional[int] = ..., trace: _Optional[int] = ..., epoch: _Optional[int] = ..., boot: _Optional[int] = ..., custody: _Optional[int] = ..., floor: _Optional[int] = ..., hop_limit: _Optional[int] = ..., hops: _Optional[int] = ..., offset: _Optional[int] = ..., total: _Optional[int] = ..., digest: _Optional[bytes] = ..., met: _Optional[_Iterable[_Union[Link, _Mapping]]] = ..., payload_length: _Optional[int] = ..., payload_crc32: _Optional[int] = ..., link: _Optional[_Union[Link, _Mapping]] = ..., from_node: _Optional[int] = ..., sent_s: _Optional[float] = ..., due_s: _Optional[float] = ..., sequence: _Optional[int] = ..., laser_s: _Optional[float] = ..., ground_s: _Optional[float] = ..., trace_parent: _Optional[bytes] = ..., trail_links: _Optional[_Iterable[int]] = ..., trail_times: _Optional[_Iterable[float]] = ..., assign: _Optional[_Union[Assign, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ..., settled: _Optional[_Union[Settled, _Mapping]] = ..., withdraw: _Optional[_Union[Withdraw, _Mapping]] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., alive: _Optional[_Union[Alive, _Mapping]] = ..., replica: _Optional[_Union[Replica, _Mapping]] = ..., advert: _Optional[_Union[LinkAdvert, _Mapping]] = ..., ack: _Optional[_Union[CustodyAck, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., part: _Optional[_Union[Part, _Mapping]] = ..., observation: _Optional[_Union[Observation, _Mapping]] = ..., model_offer: _Optional[_Union[ModelOffer, _Mapping]] = ..., model_have: _Optional[_Union[ModelHave, _Mapping]] = ..., model_ask: _Optional[_Union[ModelAsk, _Mapping]] = ..., model_piece: _Optional[_Union[ModelPiece, _Mapping]] = ..., model_query: _Optional[_Union[ModelQuery, _Mapping]] = ..., model_state: _Optional[_Union[ModelState, _Mapping]] = ..., own_pass: _Optional[bool] = ..., tenant: _Optional[bytes] = ..., policy: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Assign(_message.Message):
    __slots__ = ("job", "model", "lease_s", "priority", "shards", "attempts", "sent_sky_s", "deadline_sky_s")
    JOB_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    SENT_SKY_S_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SKY_S_FIELD_NUMBER: _ClassVar[int]
    job: str
    model: str
    lease_s: float
    priority: int
    shards: _containers.RepeatedCompositeFieldContainer[_shard_pb2.Shard]
    attempts: _containers.RepeatedScalarFieldContainer[int]
    sent_sky_s: float
    deadline_sky_s: float
    def __init__(self, job: _Optional[str] = ..., model: _Optional[str] = ..., lease_s: _Optional[float] = ..., priority: _Optional[int] = ..., shards: _Optional[_Iterable[_Union[_shard_pb2.Shard, _Mapping]]] = ..., attempts: _Optional[_Iterable[int]] = ..., sent_sky_s: _Optional[float] = ..., deadline_sky_s: _Optional[float] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("job", "shard", "attempt", "digest", "stages")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    job: str
    shard: int
    attempt: int
    digest: bytes
    stages: _shard_pb2.Stages
    def __init__(self, job: _Optional[str] = ..., shard: _Optional[int] = ..., attempt: _Optional[int] = ..., digest: _Optional[bytes] = ..., stages: _Optional[_Union[_shard_pb2.Stages, _Mapping]] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("job", "shard", "attempt", "cause", "final")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    job: str
    shard: int
    attempt: int
    cause: str
    final: bool
    def __init__(self, job: _Optional[str] = ..., shard: _Optional[int] = ..., attempt: _Optional[int] = ..., cause: _Optional[str] = ..., final: _Optional[bool] = ...) -> None: ...

class Settled(_message.Message):
    __slots__ = ("job", "shards")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    job: str
    shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, job: _Optional[str] = ..., shards: _Optional[_Iterable[int]] = ...) -> None: ...

class Withdraw(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Working(_message.Message):
    __slots__ = ("job", "shards")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    job: str
    shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, job: _Optional[str] = ..., shards: _Optional[_Iterable[int]] = ...) -> None: ...

class Alive(_message.Message):
    __slots__ = ("captures", "working", "models")
    CAPTURES_FIELD_NUMBER: _ClassVar[int]
    WORKING_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    captures: _containers.RepeatedScalarFieldContainer[str]
    working: _containers.RepeatedCompositeFieldContainer[Working]
    models: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, captures: _Optional[_Iterable[str]] = ..., working: _Optional[_Iterable[_Union[Working, _Mapping]]] = ..., models: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("capture", "digest")
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    capture: str
    digest: bytes
    def __init__(self, capture: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...

class LinkAdvert(_message.Message):
    __slots__ = ("link", "up", "since_sky_s")
    LINK_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    SINCE_SKY_S_FIELD_NUMBER: _ClassVar[int]
    link: Link
    up: bool
    since_sky_s: float
    def __init__(self, link: _Optional[_Union[Link, _Mapping]] = ..., up: _Optional[bool] = ..., since_sky_s: _Optional[float] = ...) -> None: ...

class CustodyAck(_message.Message):
    __slots__ = ("numbers",)
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, numbers: _Optional[_Iterable[int]] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("name", "digest", "length", "piece_bytes", "pieces", "entry")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    PIECE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: bytes
    length: int
    piece_bytes: int
    pieces: bytes
    entry: bytes
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[bytes] = ..., length: _Optional[int] = ..., piece_bytes: _Optional[int] = ..., pieces: _Optional[bytes] = ..., entry: _Optional[bytes] = ...) -> None: ...

class ModelOffer(_message.Message):
    __slots__ = ("manifest", "serial", "targets", "carriers", "pinned", "root", "refused")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CARRIERS_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    manifest: Manifest
    serial: int
    targets: _containers.RepeatedScalarFieldContainer[int]
    carriers: _containers.RepeatedScalarFieldContainer[int]
    pinned: bool
    root: bool
    refused: bytes
    def __init__(self, manifest: _Optional[_Union[Manifest, _Mapping]] = ..., serial: _Optional[int] = ..., targets: _Optional[_Iterable[int]] = ..., carriers: _Optional[_Iterable[int]] = ..., pinned: _Optional[bool] = ..., root: _Optional[bool] = ..., refused: _Optional[bytes] = ...) -> None: ...

class ModelHave(_message.Message):
    __slots__ = ("model", "serial", "pieces")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    model: bytes
    serial: int
    pieces: bytes
    def __init__(self, model: _Optional[bytes] = ..., serial: _Optional[int] = ..., pieces: _Optional[bytes] = ...) -> None: ...

class ModelAsk(_message.Message):
    __slots__ = ("model", "pieces", "order", "doubted")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    DOUBTED_FIELD_NUMBER: _ClassVar[int]
    model: bytes
    pieces: _containers.RepeatedScalarFieldContainer[int]
    order: bool
    doubted: bool
    def __init__(self, model: _Optional[bytes] = ..., pieces: _Optional[_Iterable[int]] = ..., order: _Optional[bool] = ..., doubted: _Optional[bool] = ...) -> None: ...

class ModelPiece(_message.Message):
    __slots__ = ("model", "index")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    model: bytes
    index: int
    def __init__(self, model: _Optional[bytes] = ..., index: _Optional[int] = ...) -> None: ...

class ModelQuery(_message.Message):
    __slots__ = ("model", "rehash")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REHASH_FIELD_NUMBER: _ClassVar[int]
    model: bytes
    rehash: bool
    def __init__(self, model: _Optional[bytes] = ..., rehash: _Optional[bool] = ...) -> None: ...

class ModelState(_message.Message):
    __slots__ = ("model", "state", "pieces", "rehashed_sky_s", "cause", "found")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    REHASHED_SKY_S_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    model: bytes
    state: str
    pieces: int
    rehashed_sky_s: float
    cause: str
    found: bytes
    def __init__(self, model: _Optional[bytes] = ..., state: _Optional[str] = ..., pieces: _Optional[int] = ..., rehashed_sky_s: _Optional[float] = ..., cause: _Optional[str] = ..., found: _Optional[bytes] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("frame", "index", "parts", "sensor", "number", "model", "shard", "taken_sky_s", "deadline_sky_s")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SENSOR_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    TAKEN_SKY_S_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SKY_S_FIELD_NUMBER: _ClassVar[int]
    frame: str
    index: int
    parts: int
    sensor: str
    number: int
    model: str
    shard: _shard_pb2.Shard
    taken_sky_s: float
    deadline_sky_s: float
    def __init__(self, frame: _Optional[str] = ..., index: _Optional[int] = ..., parts: _Optional[int] = ..., sensor: _Optional[str] = ..., number: _Optional[int] = ..., model: _Optional[str] = ..., shard: _Optional[_Union[_shard_pb2.Shard, _Mapping]] = ..., taken_sky_s: _Optional[float] = ..., deadline_sky_s: _Optional[float] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("frame", "index", "parts", "sensor", "number", "model", "kind", "taken_sky_s", "deadline_sky_s", "treatment", "tiles", "digest", "stages")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SENSOR_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TAKEN_SKY_S_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SKY_S_FIELD_NUMBER: _ClassVar[int]
    TREATMENT_FIELD_NUMBER: _ClassVar[int]
    TILES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    frame: str
    index: int
    parts: int
    sensor: str
    number: int
    model: str
    kind: str
    taken_sky_s: float
    deadline_sky_s: float
    treatment: str
    tiles: int
    digest: bytes
    stages: _shard_pb2.Stages
    def __init__(self, frame: _Optional[str] = ..., index: _Optional[int] = ..., parts: _Optional[int] = ..., sensor: _Optional[str] = ..., number: _Optional[int] = ..., model: _Optional[str] = ..., kind: _Optional[str] = ..., taken_sky_s: _Optional[float] = ..., deadline_sky_s: _Optional[float] = ..., treatment: _Optional[str] = ..., tiles: _Optional[int] = ..., digest: _Optional[bytes] = ..., stages: _Optional[_Union[_shard_pb2.Stages, _Mapping]] = ...) -> None: ...
