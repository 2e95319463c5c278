"""Is a frame the same after it was bytes, and is what is no frame of this version refused?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perigrid.errors import ProtocolError
from perigrid.job.spec import JOB_ID_CHARACTERS, MAX_JOB_ID_LENGTH, Shard, is_job_id
from perigrid.mesh.topology import Link, LinkKind
from perigrid.mesh.way import Crossing
from perigrid.node.frames import (
    HOP_LIMIT,
    MAX_DEAD_LINKS_MET,
    MAX_TRAIL,
    Alive,
    Assign,
    Body,
    CustodyAck,
    Failed,
    Frame,
    Hello,
    LinkAdvert,
    ModelAsk,
    ModelHave,
    ModelOffer,
    ModelPiece,
    ModelQuery,
    ModelState,
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
from perigrid.node.manifest import MAX_PIECES, PIECE_BYTES, Manifest, Order, is_model_name
from perigrid.units import NodeId
from perigrid.wire.codec import (
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    OBSERVATION_KINDS,
    VERSION,
    Stamp,
    check_payload,
    decode,
    encode,
)
from perigrid.wire.generated import link_pb2
from perigrid.wire.models import STATES

NODES = st.integers(0, 2**32 - 1).map(NodeId)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
S32 = st.integers(-(2**31), 2**31 - 1)
SECONDS = st.floats(0, 1e6, allow_nan=False)
TEXT = st.text(max_size=20)
JOBS = st.text(sorted(JOB_ID_CHARACTERS), min_size=1, max_size=MAX_JOB_ID_LENGTH).filter(is_job_id)
DIGESTS = st.binary(min_size=32, max_size=32)
LINKS = st.builds(Link, NODES, NODES, st.sampled_from(LinkKind))
STAGES = st.builds(Stages, *[SECONDS] * 8)


@st.composite
def shards(draw: st.DrawFn) -> Shard:
    places = draw(st.lists(st.tuples(U32, U32, U32), max_size=4))
    tiles, rows, columns = (tuple(place[i] for place in places) for i in range(3))
    return Shard(index=draw(U32), capture=draw(TEXT), tiles=tiles, rows=rows, columns=columns)


@st.composite
def assignments(draw: st.DrawFn) -> Assign:
    pairs = draw(st.lists(st.tuples(shards(), U32), max_size=4))
    return Assign(
        draw(JOBS),
        draw(TEXT),
        draw(st.floats(1e-3, 1e6)),
        draw(S32),
        tuple(shard for shard, _ in pairs),
        tuple(attempt for _, attempt in pairs),
        draw(SECONDS),
    )


NUMBERS = st.lists(U32, max_size=6).map(tuple)
NODE_LISTS = st.lists(NODES, max_size=3).map(tuple)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    length = draw(st.integers(1, 4 * PIECE_BYTES))
    pieces = tuple(draw(DIGESTS) for _ in range(-(-length // PIECE_BYTES)))
    name = draw(st.text(sorted(JOB_ID_CHARACTERS), min_size=1, max_size=20).filter(is_model_name))
    manifest = Manifest(name, draw(DIGESTS), length, PIECE_BYTES, pieces, draw(st.binary(max_size=50)))
    refused = draw(st.one_of(st.just(b""), DIGESTS))
    return Order(manifest, draw(U64), draw(NODE_LISTS), draw(NODE_LISTS), draw(st.booleans()), refused)


BODIES: dict[type, st.SearchStrategy[Body]] = {
    Assign: assignments(),
    Result: st.builds(Result, JOBS, U32, U32, DIGESTS, STAGES),
    Failed: st.builds(Failed, JOBS, U32, U32, TEXT, st.booleans()),
    Settled: st.builds(Settled, JOBS, NUMBERS),
    Withdraw: st.builds(Withdraw, JOBS),
    Hello: st.just(Hello()),
    Alive: st.builds(
        Alive,
        st.lists(TEXT, max_size=4).map(tuple),
        st.lists(st.tuples(JOBS, NUMBERS), max_size=3).map(tuple),
        st.lists(DIGESTS, max_size=3).map(tuple),
    ),
    Replica: st.builds(Replica, TEXT, DIGESTS),
    LinkAdvert: st.builds(LinkAdvert, LINKS, st.booleans(), SECONDS),
    CustodyAck: st.builds(CustodyAck, st.lists(U64, max_size=6).map(tuple)),
    Probe: st.builds(Probe, U64),
    ModelOffer: st.builds(ModelOffer, orders(), st.booleans()),
    ModelHave: st.builds(ModelHave, DIGESTS, U64, st.binary(max_size=MAX_PIECES // 8)),
    ModelAsk: st.builds(
        ModelAsk, DIGESTS, st.lists(U32, max_size=9).map(tuple), order=st.booleans(), doubted=st.booleans()
    ),
    ModelPiece: st.builds(ModelPiece, DIGESTS, U32),
    ModelQuery: st.builds(ModelQuery, st.one_of(st.just(b""), DIGESTS), st.booleans()),
    ModelState: st.builds(
        ModelState,
        DIGESTS,
        st.sampled_from(list(STATES.values())),
        st.integers(0, MAX_PIECES),
        SECONDS,
        TEXT,
        st.one_of(st.just(b""), DIGESTS),
    ),
    Part: st.builds(Part, JOBS, st.just(1), st.just(2), TEXT, U64, TEXT, shards(), SECONDS, SECONDS),
    Observation: st.builds(
        Observation,
        JOBS,
        st.just(0),
        st.just(3),
        TEXT,
        U64,
        TEXT,
        st.sampled_from(OBSERVATION_KINDS),
        SECONDS,
        SECONDS | st.just(math.inf),
        TEXT,
        st.integers(0, 1000),
        DIGESTS,
        STAGES,
    ),
}


@st.composite
def frames(draw: st.DrawFn, body: st.SearchStrategy[Body]) -> Frame:
    return Frame(
        source=draw(NODES),
        destination=draw(NODES),
        priority=draw(st.sampled_from(Priority)),
        body=draw(body),
        transfer=draw(U64),
        trace=draw(U64),
        epoch=draw(U32),
        boot=draw(U32),
        custody=draw(U64),
        floor=draw(U64),
        hop_limit=draw(st.integers(0, HOP_LIMIT)),
        hops=draw(st.integers(0, 1000)),
        offset=draw(U64),
        total=draw(U64),
        digest=draw(DIGESTS),
        met=tuple(draw(st.lists(LINKS, max_size=MAX_DEAD_LINKS_MET))),
    )


@st.composite
def stamps(draw: st.DrawFn) -> Stamp:
    sent_s = draw(SECONDS)
    return Stamp(draw(LINKS), draw(NODES), sent_s, sent_s + draw(st.floats(0, 10)), draw(U64))


def test_every_body_has_a_strategy_here() -> None:
    assert set(BODIES) == set(Body.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", list(BODIES), ids=lambda kind: kind.__name__)
@settings(deadline=None, max_examples=30)
@given(data=st.data(), stamp=stamps(), payload=st.binary(max_size=200))
def test_a_frame_is_the_same_after_it_was_bytes(kind: type, data: st.DataObject, stamp: Stamp, payload: bytes) -> None:
    frame = data.draw(frames(BODIES[kind]))
    header = encode(frame, stamp, payload)
    again, stamped, length, crc32 = decode(header)
    assert again.here_sky_s == stamp.due_s
    as_sent = msgspec.structs.replace(again, laser_s=0.0, ground_s=0.0, here_sky_s=-1.0)
    assert as_sent == frame and type(again.body) is kind
    assert stamped == stamp
    assert again.priority is frame.priority
    check_payload(payload, length, crc32)
    assert encode(as_sent, stamped, payload) == header


@pytest.mark.parametrize("kind", list(LinkKind))
def test_each_hop_adds_what_it_took_to_a_frames_way(kind: LinkKind) -> None:
    stamp = Stamp(Link(NodeId(0), NodeId(1), kind), NodeId(0), 5.0, 5.5, 1)
    frame = Frame(
        source=NodeId(0),
        destination=NodeId(2),
        priority=Priority.BULK,
        body=Probe(1),
        transfer=1,
        trace=1,
        routed_sky_s=4.0,
        laser_s=0.25,
        ground_s=0.125,
    )
    arrived = decode(encode(frame, stamp, b""))[0]
    # From the choice of the link to the last bit at its other end: 1 s in front of it, 0.5 s on it.
    took_s = (1.75, 0.125) if kind is LinkKind.LASER else (0.25, 1.625)
    assert (arrived.laser_s, arrived.ground_s) == took_s


def test_a_traced_frame_writes_down_its_way_and_what_is_no_way_is_refused() -> None:
    first, second = (Link(NodeId(n), NodeId(n + 1), LinkKind.LASER) for n in (0, 1))
    frame = Frame(
        source=NodeId(0),
        destination=NodeId(2),
        priority=Priority.BULK,
        body=Probe(1),
        transfer=1,
        trace=1,
        trace_parent=bytes(range(25)),
        here_sky_s=3.0,
        held_s=1.5,
    )
    arrived = decode(encode(frame, Stamp(first, NodeId(0), 5.0, 5.5, 1, 5.25, 0.125), b""))[0]
    assert arrived.trail == (Crossing(first, NodeId(0), 3.0, 1.5, 5.0, 5.25, 5.5, 0.125),)
    assert (arrived.trace_parent, arrived.here_sky_s) == (frame.trace_parent, 5.5)
    again = decode(encode(arrived, Stamp(second, NodeId(1), 6.0, 6.5, 2, 6.25), b""))[0]
    assert again.trail == (*arrived.trail, Crossing(second, NodeId(1), 5.5, 0.0, 6.0, 6.25, 6.5, 0.0))
    plain = encode(msgspec.structs.replace(frame, trace_parent=b""), Stamp(first, NodeId(0), 5.0, 5.5, 1), b"")
    assert decode(plain)[0].trail == () and len(plain) < 100
    good = encode(frame, Stamp(first, NodeId(0), 5.0, 5.5, 1), b"")
    for spoil in (
        lambda m: m.trail_times.append(1.0),
        lambda m: m.trail_links.append(1),
        lambda m: m.trail_times.__setitem__(0, math.nan),
        lambda m: m.trail_links.__setitem__(2, 99),
        lambda m: m.trail_links.__setitem__(3, 7),
        lambda m: setattr(m, "trace_parent", b"short"),
        lambda m: m.trail_links.extend([0, 1, 0, 0] * MAX_TRAIL) or m.trail_times.extend([0.0] * 6 * MAX_TRAIL),
    ):
        message = link_pb2.Frame.FromString(good)
        spoil(message)
        with pytest.raises(ProtocolError):
            decode(message.SerializeToString())


def header(edit: Callable[[Any], object] = lambda m: None, payload: bytes = b"", **changes: object) -> bytes:
    """A good header, changed below the codec."""
    frame = Frame(
        source=NodeId(0),
        destination=NodeId(1),
        priority=Priority.CONTROL,
        body=Probe(1),
        transfer=1,
        trace=1,
    )
    stamp = Stamp(Link(NodeId(0), NodeId(1), LinkKind.LASER), NodeId(0), 1.0, 2.0, 1)
    message = link_pb2.Frame.FromString(encode(msgspec.structs.replace(frame, **changes), stamp, payload))
    edit(message)
    return bytes(message.SerializeToString())


def setting(name: str, value: object) -> Callable[[Any], object]:
    return lambda message: setattr(message, name, value)


def test_the_good_header_is_good() -> None:
    assert decode(header())[0].body == Probe(1)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (setting("version", 0), "version 0"),
        (setting("version", VERSION + 1), f"version {VERSION + 1}"),
        (setting("tenant", b"t"), "reserved"),
        (setting("policy", b"p"), "reserved"),
        (setting("signature", b"s"), "reserved"),
        (setting("priority", 2), "priority"),
        (setting("laser_s", -1.0), "lasers"),
        (setting("ground_s", float("nan")), "lasers"),
        (setting("payload_length", MAX_PAYLOAD_BYTES + 1), "bound"),
        (lambda m: m.ClearField("probe"), "body"),
        (lambda m: setattr(m.link, "kind", len(LinkKind)), "kind"),
        (lambda m: [m.met.add(a=1, b=2) for _ in range(MAX_DEAD_LINKS_MET + 1)], "bound"),
        (lambda m: m.met.add(a=1, b=2, kind=99), "kind"),
        (lambda m: m.assign.MergeFrom(link_pb2.Assign(job="a", lease_s=1.0, attempts=[1])), "attempts"),
    ],
)
def test_what_is_not_of_this_version_is_refused_and_says_why(edit: Callable[[Any], object], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        decode(header(edit))


@pytest.mark.parametrize(
    "edit",
    [
        *(setting("due_s", v) for v in (math.nan, math.inf, -math.inf, -1.0, 0.5)),
        *(setting("sent_s", v) for v in (math.nan, math.inf, -math.inf, -1.0, 3.0)),
        setting("hops", 2**32 - 1),
        setting("hop_limit", 2**32 - 1),
        lambda m: m.withdraw.SetInParent(),
        lambda m: setattr(m.withdraw, "job", "../up"),
        lambda m: setattr(m.settled, "job", "a/b"),
        lambda m: setattr(m.result, "job", "x" * (MAX_JOB_ID_LENGTH + 1)),
        lambda m: m.assign.MergeFrom(link_pb2.Assign(job="a", lease_s=0.0)),
        lambda m: m.assign.MergeFrom(link_pb2.Assign(job="a", lease_s=math.nan)),
        lambda m: m.assign.MergeFrom(link_pb2.Assign(job="a", lease_s=math.inf)),
    ],
)
def test_what_would_hurt_whoever_acted_on_it_is_refused(edit: Callable[[Any], object]) -> None:
    with pytest.raises(ProtocolError):
        decode(header(edit))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_a_protocol_error(data: bytes) -> None:
    try:
        decode(data)
    except ProtocolError:
        return
    assert link_pb2.Frame.FromString(data).version == VERSION


@given(st.integers(0, 1000), st.integers(0, 255))
def test_a_damaged_header_is_a_frame_or_a_protocol_error(place: int, value: int) -> None:
    data = bytearray(header(payload=b"p" * 10, met=(Link(NodeId(1), NodeId(2), LinkKind.LASER),)))
    data[place % len(data)] = value
    try:
        frame, *_ = decode(bytes(data))
    except ProtocolError:
        return
    assert isinstance(frame, Frame)


def test_a_header_at_its_bound_is_read_and_one_past_it_refused() -> None:
    filling = MAX_HEADER_BYTES - len(header(body=Failed("a", 0, 0, "", False))) - 8
    fits = header(body=Failed("a", 0, 0, "x" * filling, False))
    assert MAX_HEADER_BYTES - 8 <= len(fits) <= MAX_HEADER_BYTES
    decode(fits)
    with pytest.raises(ProtocolError, match="limit"):
        decode(header(body=Failed("a", 0, 0, "x" * MAX_HEADER_BYTES, False)))


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_payload_that_is_not_the_announced_one_is_refused(payload: bytes, data: st.DataObject) -> None:
    _, _, length, crc32 = decode(header(payload=payload))
    check_payload(payload, length, crc32)
    other = data.draw(st.binary(max_size=100).filter(lambda b: b != payload))
    with pytest.raises(ProtocolError):
        check_payload(other, length, crc32)


def manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "name": "m",
        "digest": bytes(32),
        "length": PIECE_BYTES + 1,
        "piece_bytes": PIECE_BYTES,
    }
    return Manifest(**{**values, "pieces": (bytes(32),) * 2, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../../etc"},
        {"name": ".hidden"},
        {"name": ""},
        {"name": "m" * 65},
        {"digest": b"short"},
        {"length": 0},
        {"length": 1 << 40},
        {"length": PIECE_BYTES},
        {"piece_bytes": PIECE_BYTES // 2},
        {"pieces": (bytes(32),)},
        {"pieces": (bytes(32), bytes(31))},
        {"entry": bytes(17 * 1024)},
    ],
    ids=str,
)
def test_an_order_whose_manifest_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    body = ModelOffer(Order(manifest(**wrong), 1))
    sent = Frame(source=NodeId(1), destination=NodeId(2), priority=Priority.CONTROL, body=body, transfer=1, trace=1)
    link = Link(NodeId(1), NodeId(2), LinkKind.LASER)
    with pytest.raises(ProtocolError):
        decode(encode(sent, Stamp(link, NodeId(1), 0.0, 0.1, 1), b""))
