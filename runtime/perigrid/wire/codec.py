"""What is a frame as bytes?

A frame on a carrier is two parts: the header (a protobuf message, protos/link.proto) and the payload's chunk, which the
header describes by length and CRC-32. The carrier's stamp (which link, when it left, when it is due) rides in the
header. What does not decode, or uses a version or fields of the future, is a ProtocolError: drop and count.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from perigrid.errors import ProtocolError
from perigrid.job.spec import Shard, is_job_id
from perigrid.mesh.topology import Link, LinkKind
from perigrid.mesh.way import Crossing, Leg
from perigrid.node.frames import (
    HOP_LIMIT,
    MAX_DEAD_LINKS_MET,
    MAX_TRAIL,
    TRACE_PARENT_BYTES,
    Alive,
    Assign,
    Body,
    CustodyAck,
    Failed,
    Frame,
    Hello,
    LinkAdvert,
    Observation,
    Part,
    Priority,
    Probe,
    Replica,
    Result,
    Settled,
    Stages,
    Withdraw,
)
from perigrid.node.transfers import MAX_CHUNK_BYTES
from perigrid.units import KIB, NodeId
from perigrid.wire.generated import link_pb2, shard_pb2
from perigrid.wire.models import MODEL_READERS, encode_model_body

VERSION = 1
MAX_HEADER_BYTES = 64 * KIB
MAX_PAYLOAD_BYTES = MAX_CHUNK_BYTES
MAX_HOPS = 1 << 20
"""Hops that a frame may have made: its budget is renewed whenever it waited, so this is more than one budget."""

MAX_PARTS = 1024
"""Parts of one frame of a sensor: satellites have far fewer neighbours."""

MAX_TILES = 1 << 20
OBSERVATION_KINDS = ("answer", "raw", "kept", "discarded")
LINK_KINDS = tuple(LinkKind)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the carrier adds to a frame: the link and direction, emulated times of departure and arrival, a number.

    `end_s`, when the last bit left (below 0: not said), and `processing_s` ride in a traced frame's trail alone.
    """

    link: Link
    from_node: NodeId
    sent_s: float
    due_s: float
    sequence: int
    end_s: float = -1.0
    processing_s: float = 0.0


def encode(frame: Frame, stamp: Stamp, payload: bytes | memoryview) -> bytes:
    """The header of a frame on its link. What this hop takes, from the choice of the link on, is added to its way."""
    hop_s = stamp.due_s - min(frame.routed_sky_s or stamp.sent_s, stamp.sent_s)
    over_laser = stamp.link.kind is LinkKind.LASER
    message = link_pb2.Frame(
        version=VERSION,
        source=frame.source,
        destination=frame.destination,
        priority=int(frame.priority),
        transfer=frame.transfer,
        trace=frame.trace,
        epoch=frame.epoch,
        boot=frame.boot,
        custody=frame.custody,
        floor=frame.floor,
        hop_limit=frame.hop_limit,
        hops=frame.hops,
        offset=frame.offset,
        total=frame.total,
        digest=frame.digest,
        payload_length=len(payload),
        payload_crc32=zlib.crc32(payload) if len(payload) else 0,
        link=_link(stamp.link),
        from_node=stamp.from_node,
        sent_s=stamp.sent_s,
        due_s=stamp.due_s,
        sequence=stamp.sequence,
        laser_s=frame.laser_s + (hop_s if over_laser else 0.0),
        ground_s=frame.ground_s + (0.0 if over_laser else hop_s),
    )
    for link in frame.met:
        message.met.append(_link(link))
    if frame.own_pass:
        message.own_pass = True
    if frame.trace_parent:
        message.trace_parent = frame.trace_parent
        for crossing in (*frame.trail, _crossing(frame, stamp))[:MAX_TRAIL]:
            message.trail_links.extend(_link_numbers(crossing.link, crossing.sender))
            message.trail_times.extend(
                (
                    crossing.here_s,
                    crossing.held_s,
                    crossing.start_s,
                    crossing.end_s,
                    crossing.due_s,
                    crossing.processing_s,
                )
            )
    _encode_body(message, frame.body)
    return message.SerializeToString()


def decode(header: bytes | memoryview) -> tuple[Frame, Stamp, int, int]:
    """A header as (frame without its payload, stamp, payload length, payload CRC-32). ProtocolError when it is none."""
    if len(header) > MAX_HEADER_BYTES:
        raise ProtocolError(f"a frame header of {len(header)} bytes: the limit is {MAX_HEADER_BYTES}")
    try:
        message = link_pb2.Frame.FromString(bytes(header))
    except DecodeError as error:
        raise ProtocolError(f"a frame header that is no protobuf message ({error})") from error
    if message.version != VERSION:
        raise ProtocolError(f"a frame of version {message.version}: this node speaks {VERSION}")
    if message.tenant or message.policy or message.signature:
        raise ProtocolError("a frame that uses reserved fields (tenant, policy, signature)")
    if len(message.met) > MAX_DEAD_LINKS_MET or message.payload_length > MAX_PAYLOAD_BYTES:
        raise ProtocolError("a frame whose list of dead links, or whose payload, passes its bound")
    if message.priority not in (0, 1):
        raise ProtocolError(f"a frame of priority class {message.priority}: there are 0 and 1")
    if message.hops > MAX_HOPS or message.hop_limit > HOP_LIMIT:
        raise ProtocolError(f"a frame of {message.hops} hops with {message.hop_limit} left, which passes its bound")
    if not (math.isfinite(message.due_s) and 0.0 <= message.sent_s <= message.due_s):
        raise ProtocolError(f"a frame that left at {message.sent_s} s and is due at {message.due_s} s")
    if not (0.0 <= message.laser_s < math.inf and 0.0 <= message.ground_s < math.inf):
        raise ProtocolError(
            f"a frame that spent {message.laser_s} s on lasers and {message.ground_s} s on ground links"
        )
    frame = Frame(
        source=NodeId(message.source),
        destination=NodeId(message.destination),
        priority=Priority(message.priority),
        body=_decode_body(message),
        transfer=message.transfer,
        trace=message.trace,
        epoch=message.epoch,
        boot=message.boot,
        custody=message.custody,
        floor=message.floor,
        hop_limit=message.hop_limit,
        hops=message.hops,
        offset=message.offset,
        total=message.total,
        digest=message.digest,
        met=tuple(_read_link(link) for link in message.met),
        laser_s=message.laser_s,
        ground_s=message.ground_s,
        own_pass=message.own_pass,
        trace_parent=message.trace_parent,
        trail=_read_trail(message),
        here_sky_s=message.due_s,
    )
    stamp = Stamp(_read_link(message.link), NodeId(message.from_node), message.sent_s, message.due_s, message.sequence)
    return frame, stamp, message.payload_length, message.payload_crc32


def check_payload(payload: bytes | memoryview, length: int, crc32: int) -> None:
    """ProtocolError where a payload is not what its header says."""
    if len(payload) != length:
        raise ProtocolError(f"a payload of {len(payload)} bytes under a header that says {length}")
    if length and zlib.crc32(payload) != crc32:
        raise ProtocolError("a payload whose CRC-32 is not its header's")


def _crossing(frame: Frame, stamp: Stamp) -> Crossing:
    """What a traced frame writes down of the link that it goes over now."""
    here_s = stamp.sent_s if frame.here_sky_s < 0 else min(frame.here_sky_s, stamp.sent_s)
    end_s = stamp.sent_s if stamp.end_s < 0 else stamp.end_s
    held_s = min(frame.held_s, stamp.sent_s - here_s)
    return Crossing(stamp.link, stamp.from_node, here_s, held_s, stamp.sent_s, end_s, stamp.due_s, stamp.processing_s)


def _link_numbers(link: Link, sender: NodeId) -> tuple[int, int, int, int]:
    return link.a, link.b, LINK_KINDS.index(link.kind), sender


def _numbered_links(numbers: Sequence[int]) -> list[tuple[Link, NodeId]]:
    """Links with their senders from groups of four numbers; ProtocolError for what is no such group."""
    found = []
    for a, b, kind, sender in zip(*[iter(numbers)] * 4, strict=True):
        if kind >= len(LINK_KINDS) or sender not in (a, b):
            raise ProtocolError(f"a crossing of link {a} - {b} of kind {kind} by {sender}, which is none")
        found.append((Link(NodeId(a), NodeId(b), LINK_KINDS[kind]), NodeId(sender)))
    return found


def _read_trail(message: link_pb2.Frame) -> tuple[Crossing, ...]:
    if not message.trace_parent and not message.trail_links:
        return ()
    if len(message.trace_parent) != TRACE_PARENT_BYTES:
        raise ProtocolError(f"a trace parent of {len(message.trace_parent)} bytes: it has {TRACE_PARENT_BYTES}")
    count, times = len(message.trail_links) // 4, message.trail_times
    if len(message.trail_links) != 4 * count or len(times) != 6 * count or count > MAX_TRAIL:
        raise ProtocolError("a trail whose links and times do not run beside each other, or which passes its bound")
    if not all(map(math.isfinite, times)):
        raise ProtocolError("a trail with a time that is no number")
    links = _numbered_links(message.trail_links)
    return tuple(Crossing(*links[n], *times[6 * n : 6 * n + 6]) for n in range(count))


def _link(link: Link) -> link_pb2.Link:
    return link_pb2.Link(a=link.a, b=link.b, kind=LINK_KINDS.index(link.kind))


def _read_link(message: link_pb2.Link) -> Link:
    if message.kind >= len(LINK_KINDS):
        raise ProtocolError(f"a link of kind {message.kind}: the kinds are {len(LINK_KINDS)}")
    return Link(NodeId(message.a), NodeId(message.b), LINK_KINDS[message.kind])


def shard_message(shard: Shard) -> shard_pb2.Shard:
    """A shard as its protobuf message."""
    return shard_pb2.Shard(
        index=shard.index, capture=shard.capture, tiles=shard.tiles, rows=shard.rows, columns=shard.columns
    )


def stages_message(stages: Stages) -> shard_pb2.Stages:
    """Stage times as their protobuf message."""
    message = shard_pb2.Stages(
        arrived_sky_s=stages.arrived_sky_s,
        queue_s=stages.queue_s,
        inference_s=stages.inference_s,
        desk_wait_s=stages.desk_wait_s,
        cpu_s=stages.cpu_s,
        sent_sky_s=stages.sent_sky_s,
        up_laser_s=stages.up_laser_s,
        up_ground_s=stages.up_ground_s,
    )
    for leg in stages.up:
        message.up_links.extend(_link_numbers(leg.link, leg.sender))
        message.up_times.extend(
            (
                leg.here_s,
                leg.due_s,
                leg.held_s,
                leg.queue_s,
                leg.serialisation_s,
                leg.propagation_s,
                leg.processing_s,
            )
        )
    return message


def read_stages(message: shard_pb2.Stages) -> Stages:
    """Stage times from their protobuf message."""
    return Stages(
        message.arrived_sky_s,
        message.queue_s,
        message.inference_s,
        message.desk_wait_s,
        message.cpu_s,
        message.sent_sky_s,
        message.up_laser_s,
        message.up_ground_s,
        _read_legs(message),
    )


def _read_legs(message: shard_pb2.Stages) -> tuple[Leg, ...]:
    count, times = len(message.up_links) // 4, message.up_times
    if not message.up_links and not times:
        return ()
    if len(message.up_links) != 4 * count or len(times) != 7 * count or count > MAX_TRAIL:
        raise ProtocolError("a way whose links and times do not run beside each other, or which passes its bound")
    if not all(map(math.isfinite, times)):
        raise ProtocolError("a way with a time that is no number")
    links = _numbered_links(message.up_links)
    return tuple(Leg(*links[n], *times[7 * n : 7 * n + 7]) for n in range(count))


def _read_shard(message: shard_pb2.Shard) -> Shard:
    return Shard(
        index=message.index,
        capture=message.capture,
        tiles=tuple(message.tiles),
        rows=tuple(message.rows),
        columns=tuple(message.columns),
    )


def _encode_body(message: link_pb2.Frame, body: Body) -> None:
    match body:
        case CustodyAck(numbers):
            message.ack.numbers.extend(numbers)
        case Result(job, shard, attempt, digest, stages):
            message.result.CopyFrom(
                link_pb2.Result(job=job, shard=shard, attempt=attempt, digest=digest, stages=stages_message(stages))
            )
        case Assign(job, model, lease_s, priority, shards, attempts, sent_sky_s, deadline_sky_s):
            message.assign.CopyFrom(
                link_pb2.Assign(
                    job=job,
                    model=model,
                    lease_s=lease_s,
                    priority=priority,
                    shards=[shard_message(s) for s in shards],
                    attempts=attempts,
                    sent_sky_s=sent_sky_s,
                    deadline_sky_s=deadline_sky_s,
                )
            )
        case Settled(job, settled):
            message.settled.CopyFrom(link_pb2.Settled(job=job, shards=settled))
        case Alive(captures, working, models):
            parts = [link_pb2.Working(job=job, shards=shards) for job, shards in working]
            message.alive.CopyFrom(link_pb2.Alive(captures=captures, working=parts, models=models))
        case Failed(job, shard, attempt, cause, final):
            message.failed.CopyFrom(link_pb2.Failed(job=job, shard=shard, attempt=attempt, cause=cause, final=final))
        case Withdraw(job):
            message.withdraw.job = job
        case Hello():
            message.hello.SetInParent()
        case Replica(capture, digest):
            message.replica.CopyFrom(link_pb2.Replica(capture=capture, digest=digest))
        case LinkAdvert(link, up, since_sky_s):
            message.advert.CopyFrom(link_pb2.LinkAdvert(link=_link(link), up=up, since_sky_s=since_sky_s))
        case Probe(number):
            message.probe.number = number
        case Part() | Observation():
            _encode_frame_body(message, body)
        case _:
            encode_model_body(message, body)


def _encode_frame_body(message: link_pb2.Frame, body: Part | Observation) -> None:
    """What is about a sensor's frame."""
    if isinstance(body, Part):
        message.part.CopyFrom(
            link_pb2.Part(
                frame=body.frame,
                index=body.index,
                parts=body.parts,
                sensor=body.sensor,
                number=body.number,
                model=body.model,
                shard=shard_message(body.shard),
                taken_sky_s=body.taken_sky_s,
                deadline_sky_s=body.deadline_sky_s,
            )
        )
        return
    message.observation.CopyFrom(
        link_pb2.Observation(
            frame=body.frame,
            index=body.index,
            parts=body.parts,
            sensor=body.sensor,
            number=body.number,
            model=body.model,
            kind=body.kind,
            taken_sky_s=body.taken_sky_s,
            deadline_sky_s=body.deadline_sky_s,
            treatment=body.treatment,
            tiles=body.tiles,
            digest=body.digest,
            stages=stages_message(body.stages),
        )
    )


_READERS: dict[str, Callable[[link_pb2.Frame], Body]] = {
    "ack": lambda m: CustodyAck(tuple(m.ack.numbers)),
    "result": lambda m: Result(
        m.result.job, m.result.shard, m.result.attempt, m.result.digest, read_stages(m.result.stages)
    ),
    "assign": lambda m: _read_assign(m.assign),
    "settled": lambda m: Settled(m.settled.job, tuple(m.settled.shards)),
    "alive": lambda m: Alive(
        tuple(m.alive.captures), tuple((w.job, tuple(w.shards)) for w in m.alive.working), tuple(m.alive.models)
    ),
    "failed": lambda m: Failed(m.failed.job, m.failed.shard, m.failed.attempt, m.failed.cause, m.failed.final),
    "withdraw": lambda m: Withdraw(m.withdraw.job),
    "hello": lambda m: Hello(),
    "replica": lambda m: Replica(m.replica.capture, m.replica.digest),
    "advert": lambda m: LinkAdvert(_read_link(m.advert.link), m.advert.up, m.advert.since_sky_s),
    "probe": lambda m: Probe(m.probe.number),
    "part": lambda m: _read_part(m.part),
    "observation": lambda m: _read_observation(m.observation),
    **MODEL_READERS,
}


def _decode_body(message: link_pb2.Frame) -> Body:
    kind = message.WhichOneof("body")
    if kind is None:
        raise ProtocolError("a frame without a body that this node knows")
    job = getattr(getattr(message, kind), "job", None)
    if job is not None and not is_job_id(job):
        raise ProtocolError(f"a frame about a job named {job!r}, which names no job")
    return _READERS[kind](message)


def _check_frame(message: link_pb2.Part | link_pb2.Observation) -> None:
    if not is_job_id(message.frame) or not 0 <= message.index < message.parts <= MAX_PARTS:
        raise ProtocolError(
            f"part {message.index} of {message.parts} of a frame named {message.frame!r}, which is none"
        )
    if not math.isfinite(message.taken_sky_s) or math.isnan(message.deadline_sky_s):
        raise ProtocolError(f"a frame taken at {message.taken_sky_s} s, due at {message.deadline_sky_s} s")


def _read_part(message: link_pb2.Part) -> Part:
    _check_frame(message)
    shard = message.shard
    if not len(shard.tiles) == len(shard.rows) == len(shard.columns):
        raise ProtocolError("a part of a frame whose rows and columns do not run beside its tiles")
    return Part(
        message.frame,
        message.index,
        message.parts,
        message.sensor,
        message.number,
        message.model,
        _read_shard(shard),
        message.taken_sky_s,
        message.deadline_sky_s,
    )


def _read_observation(message: link_pb2.Observation) -> Observation:
    _check_frame(message)
    if message.kind not in OBSERVATION_KINDS or message.tiles > MAX_TILES:
        raise ProtocolError(f"an observation of kind {message.kind!r} about {message.tiles} tiles, which is none")
    return Observation(
        message.frame,
        message.index,
        message.parts,
        message.sensor,
        message.number,
        message.model,
        message.kind,
        message.taken_sky_s,
        message.deadline_sky_s,
        message.treatment,
        message.tiles,
        message.digest,
        read_stages(message.stages),
    )


def _read_assign(message: link_pb2.Assign) -> Assign:
    if len(message.shards) != len(message.attempts):
        raise ProtocolError("an assignment whose attempts do not run beside its shards")
    if not 0.0 < message.lease_s < math.inf:
        raise ProtocolError(f"an assignment with a lease of {message.lease_s} s")
    if message.HasField("deadline_sky_s") and not math.isfinite(message.deadline_sky_s):
        raise ProtocolError(f"an assignment with a deadline of {message.deadline_sky_s} s")
    if any(not len(s.tiles) == len(s.rows) == len(s.columns) for s in message.shards):
        raise ProtocolError("an assignment of a shard whose rows and columns do not run beside its tiles")
    return Assign(
        message.job,
        message.model,
        message.lease_s,
        message.priority,
        tuple(_read_shard(s) for s in message.shards),
        tuple(message.attempts),
        message.sent_sky_s,
        message.deadline_sky_s if message.HasField("deadline_sky_s") else None,
    )
