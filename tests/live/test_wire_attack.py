"""Does a host outlive whatever is written to its bus, and go on with its work?

Everything here is written straight to a bus, as any process of this machine's user could. What is no frame of this
protocol has no effect but on a counter; what follows it is taken as if nothing had been.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import zmq

from perigrid.job.spec import Shard
from perigrid.mesh.topology import Link, LinkKind
from perigrid.node.frames import (
    HOP_LIMIT,
    MAX_DEAD_LINKS_MET,
    Alive,
    Assign,
    CustodyAck,
    Failed,
    Frame,
    LinkAdvert,
    Priority,
    Probe,
    Replica,
    Result,
    Settled,
    Stages,
)
from perigrid.node.transfers import MAX_CHUNK_BYTES
from perigrid.units import NodeId
from perigrid.wire.codec import MAX_HEADER_BYTES, Stamp, encode
from perigrid.wire.generated import link_pb2
from tests.live.conftest import Constellation, Launcher, alive, wait_until

pytestmark = pytest.mark.live

STATION, GROUND = 12, 13
TAKEN_LIMIT_S = 10.0
STAGES = Stages(0.0, 0.0, 0.0, 0.0, 0.0)
DIGEST = bytes(32)


@dataclass(frozen=True)
class Bus:
    """One host's bus as an intruder sees it: a link to one of its nodes, and the node at the link's other end."""

    constellation: Constellation
    host: str
    link: Link
    sender: NodeId
    node: NodeId
    context: Any = field(default_factory=zmq.Context)

    def push(self, *parts: bytes) -> None:
        """Send one message on a connection of its own, which a host may close on us, and wait until it is gone."""
        with self.context.socket(zmq.PUSH) as socket:
            socket.setsockopt(zmq.LINGER, 2000)
            bus = self.constellation.directory / "sockets" / f"{self.host}.bus"
            socket.connect(f"ipc://{os.path.relpath(bus)}")
            socket.send_multipart(parts)

    def state(self) -> Any:
        states = self.constellation.states()
        return states.get(self.host)

    def frame(self, **changes: Any) -> Frame:
        """A frame for this node that nothing is wrong with, but for the changes."""
        values = {
            "source": self.sender,
            "destination": self.node,
            "priority": Priority.CONTROL,
            "body": Probe(1),
            "transfer": 1,
            "trace": 1,
        }
        return Frame(**{**values, **changes})

    def stamp(self, **changes: Any) -> Stamp:
        """A stamp that nothing is wrong with, but for the changes."""
        now_s = self.constellation.now_s()
        return replace(Stamp(self.link, self.sender, now_s - 0.02, now_s - 0.01, 1), **changes)

    def header(self, stamp: dict[str, Any] | None = None, payload: bytes = b"", **changes: Any) -> bytes:
        return encode(self.frame(**changes), self.stamp(**(stamp or {})), payload)

    def edited(self, edit: Callable[[Any], Any], **changes: Any) -> bytes:
        """A header changed below the codec, which would not write it."""
        message = link_pb2.Frame.FromString(self.header(**changes))
        edit(message)
        return bytes(message.SerializeToString())


Parts = tuple[bytes, ...]
Attack = Callable[[Bus], Parts]


def shard(**changes: Any) -> Shard:
    values = {"index": 0, "capture": "waves@sat-01", "tiles": (0,), "rows": (0,), "columns": (0,)}
    return Shard(**{**values, **changes})


def assign(**changes: Any) -> Assign:
    values = {
        "job": "forged",
        "model": "tinycloud",
        "lease_s": 2.0,
        "priority": 0,
        "shards": (shard(),),
        "attempts": (1,),
    }
    return Assign(**{**values, **changes})


def set_field(name: str, value: object) -> Callable[[Any], Any]:
    return lambda message: setattr(message, name, value)


NOT_A_FRAME: dict[str, Attack] = {
    "nothing": lambda bus: (b"",),
    "garbage": lambda bus: (bytes(range(256)),),
    "garbage-and-payload": lambda bus: (b"\xff" * 100, b"x" * 100),
    "huge-header": lambda bus: (b"\0" * (MAX_HEADER_BYTES + 1),),
    "beyond-the-largest-message": lambda bus: (b"\0" * (4 * MAX_CHUNK_BYTES),),
    "many-parts": lambda bus: (bus.header(), b"a", b"b"),
    "payload-without-being-announced": lambda bus: (bus.header(), b"payload"),
    "truncated-header": lambda bus: (bus.header()[:-5],),
    "truncated-payload": lambda bus: (bus.header(payload=b"p" * 100), b"p" * 99),
    "missing-payload": lambda bus: (bus.header(payload=b"p" * 100),),
    "wrong-checksum": lambda bus: (bus.header(payload=b"p" * 100), b"q" * 100),
    "version-of-the-future": lambda bus: (bus.edited(set_field("version", 2)),),
    "no-version": lambda bus: (bus.edited(set_field("version", 0)),),
    "reserved-tenant": lambda bus: (bus.edited(set_field("tenant", b"t")),),
    "reserved-policy": lambda bus: (bus.edited(set_field("policy", b"p")),),
    "reserved-signature": lambda bus: (bus.edited(set_field("signature", b"s")),),
    "priority-without-a-class": lambda bus: (bus.edited(set_field("priority", 7)),),
    "no-body": lambda bus: (bus.edited(lambda m: m.ClearField("probe")),),
    "too-many-dead-links": lambda bus: (
        bus.edited(lambda m: [m.met.add(a=0, b=1) for _ in range(MAX_DEAD_LINKS_MET + 1)]),
    ),
}

NO_SUCH_LINK: dict[str, Attack] = {
    "link-of-no-kind": lambda bus: (bus.edited(lambda m: setattr(m.link, "kind", 9)),),
    "laser-that-does-not-exist": lambda bus: (bus.header(stamp={"link": far(bus, LinkKind.LASER)}),),
    "radio-that-does-not-exist": lambda bus: (bus.header(stamp={"link": far(bus, LinkKind.RADIO)}),),
    "fibre-that-does-not-exist": lambda bus: (bus.header(stamp={"link": far(bus, LinkKind.FIBRE)}),),
    "link-to-oneself": lambda bus: (
        bus.header(stamp={"link": Link(bus.node, bus.node, LinkKind.LASER), "from_node": bus.node}),
    ),
    "link-to-nobody": lambda bus: (
        bus.header(stamp={"link": Link(bus.node, NodeId(4_000_000_000), LinkKind.LASER), "from_node": bus.node}),
    ),
    "link-from-nobody": lambda bus: (
        bus.header(
            stamp={"link": Link(bus.node, NodeId(4_000_000_000), LinkKind.LASER), "from_node": NodeId(4_000_000_000)}
        ),
    ),
    "sender-that-is-not-on-the-link": lambda bus: (bus.header(stamp={"from_node": NodeId(bus.sender + 3)}),),
}

NO_SUCH_TIME: dict[str, Attack] = {
    f"{name}-{value:g}": lambda bus, name=name, value=value: (bus.header(stamp={name: value}),)
    for name in ("due_s", "sent_s")
    for value in (math.nan, math.inf, -math.inf, 1e300, -1e300, -5.0, 1e7)
}

NO_SUCH_NODE: dict[str, Attack] = {
    "from-nobody-to-here": lambda bus: (bus.header(source=NodeId(4_000_000_000)),),
    "to-nobody": lambda bus: (bus.header(destination=NodeId(4_000_000_000)),),
    "to-nobody-in-custody": lambda bus: (bus.header(destination=NodeId(999), custody=1 << 40, boot=1),),
    "passing-on-with-all-hops-made": lambda bus: (bus.header(destination=beyond(bus), hops=(1 << 32) - 1),),
    "passing-on-without-hops-left": lambda bus: (bus.header(destination=beyond(bus), hop_limit=0),),
    "passing-on-with-hops-for-ever": lambda bus: (bus.header(destination=beyond(bus), hop_limit=(1 << 32) - 1),),
    "met-links-that-do-not-exist": lambda bus: (bus.header(destination=beyond(bus), met=(far(bus, LinkKind.LASER),)),),
    "advert-of-a-link-that-does-not-exist": lambda bus: (
        bus.header(body=LinkAdvert(Link(NodeId(900), NodeId(901), LinkKind.LASER), False, 0.0)),
    ),
    "advert-with-no-time": lambda bus: (bus.header(body=LinkAdvert(far(bus, LinkKind.LASER), False, math.nan)),),
    "acknowledgement-of-nothing": lambda bus: (bus.header(body=CustodyAck(tuple(range(5000)))),),
}

NO_SUCH_WORK: dict[str, Attack] = {
    "assignment-of-an-unknown-capture": lambda bus: (bus.header(body=assign(shards=(shard(capture="no"),))),),
    "assignment-of-an-unknown-model": lambda bus: (bus.header(body=assign(model="no")),),
    "assignment-beyond-the-capture": lambda bus: (
        bus.header(body=assign(shards=(shard(capture=own(bus), rows=(4_000_000_000,), columns=(7,)),))),
    ),
    "assignment-without-tiles": lambda bus: (
        bus.header(body=assign(shards=(shard(capture=own(bus), tiles=(), rows=(), columns=()),))),
    ),
    "assignment-with-more-tiles-than-rows": lambda bus: (
        bus.header(body=assign(shards=(shard(capture=own(bus), tiles=(0, 1, 2)),))),
    ),
    "assignment-without-a-lease": lambda bus: (
        bus.header(body=assign(job="no-lease", lease_s=0.0, shards=(shard(capture=own(bus)),))),
    ),
    "assignment-with-no-lease-at-all": lambda bus: (
        bus.header(body=assign(job="nan-lease", lease_s=math.nan, shards=(shard(capture=own(bus)),))),
    ),
    "assignment-of-a-job-named-as-a-path": lambda bus: (
        bus.header(body=assign(job="../../../../escaped", shards=(shard(capture=own(bus)),))),
    ),
    "assignment-of-a-job-with-a-zero": lambda bus: (
        bus.header(body=assign(job="a\0b", shards=(shard(capture=own(bus)),))),
    ),
    "settled-that-was-never-computed": lambda bus: (bus.header(body=Settled("../../x", (1, 2, 3))),),
    "capture-named-as-a-path": lambda bus: (
        bus.header(body=Replica("../../../escaped", EMPTY_SHA256), total=0, digest=EMPTY_SHA256),
    ),
}

EMPTY_SHA256 = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

ON_THE_GROUND: dict[str, Attack] = {
    "result-of-an-unknown-job": lambda bus: (bus.header(source=NodeId(0), body=Result("no", 0, 1, DIGEST, STAGES)),),
    "result-from-nobody": lambda bus: (bus.header(source=NodeId(999), body=Result("no", 0, 1, DIGEST, STAGES)),),
    "result-from-the-ground-itself": lambda bus: (
        bus.header(source=NodeId(GROUND), body=Result("no", 0, 1, DIGEST, STAGES)),
    ),
    "result-from-a-station": lambda bus: (bus.header(source=NodeId(STATION), body=Result("no", 0, 1, DIGEST, STAGES)),),
    "failure-of-an-unknown-shard": lambda bus: (
        bus.header(source=NodeId(0), body=Failed("no", 1 << 31, 1, "because", True)),
    ),
    "alive-from-nobody": lambda bus: (
        bus.header(source=NodeId(999), body=Alive(("waves@sat-01", "no"), (("no", (1, 2)),))),
    ),
}


def far(bus: Bus, kind: LinkKind) -> Link:
    """A link of this node's that no plan has."""
    return Link.between(bus.node, NodeId((bus.node + 5) % 12), kind)


def beyond(bus: Bus) -> NodeId:
    """The node to which a frame from the sender has to be passed on."""
    return NodeId((2 * bus.node - bus.sender) % 12)


def own(bus: Bus) -> str:
    """The capture that was born on the victim."""
    return f"waves@{bus.constellation.mesh().name_of(bus.node)}"


@pytest.fixture(scope="module")
def constellation(launcher: Launcher) -> Iterator[Constellation]:
    """Twelve satellites of a process each, some of which are attacked."""
    found = launcher.up("attacked", rate=1.0, service_s=0.02)
    # Frames are stamped as sent a little before now, and nothing was sent before the epoch.
    wait_until(lambda: found.now_s() > 1.0, TAKEN_LIMIT_S, "the clock running")
    yield found
    launcher.end(found.run)


def bus_of(constellation: Constellation, node: int) -> Bus:
    mesh = constellation.mesh()
    sender = NodeId(node - 1) if node != GROUND else NodeId(STATION)
    link = mesh.link_between(sender, NodeId(node))
    host = "ground" if node == GROUND else f"host-{node + 1:02d}"
    return Bus(constellation, host, link, sender, NodeId(node))


def attack(bus: Bus, attacks: dict[str, Attack]) -> None:
    """Send everything, each followed by a frame that has to be taken; the process stays the same throughout."""
    pid = bus.state().pid
    for number, (name, make) in enumerate(attacks.items()):
        bus.push(*make(bus))
        bus.push(bus.header(body=Probe(1000 + number)))

        def taken(name: str = name, number: int = number) -> bool:
            assert alive(pid), f"the process ended after: {name}"
            state = bus.state()
            return state is not None and 1000 + number in [a.number for a in state.arrivals]

        wait_until(taken, TAKEN_LIMIT_S, f"a frame being taken after: {name}")
    assert bus.state().pid == pid


@pytest.mark.parametrize(
    ("victim", "attacks"),
    [
        (2, NOT_A_FRAME),
        (4, NO_SUCH_LINK),
        (6, NO_SUCH_TIME),
        (8, NO_SUCH_NODE),
        (10, NO_SUCH_WORK),
        (GROUND, {**NOT_A_FRAME, **NO_SUCH_LINK, **NO_SUCH_TIME, **NO_SUCH_NODE, **ON_THE_GROUND}),
    ],
    ids=["no-frame", "no-link", "no-time", "no-node", "no-work", "ground"],
)
def test_a_host_outlives_what_is_written_to_its_bus(
    constellation: Constellation, victim: int, attacks: dict[str, Attack]
) -> None:
    bus = bus_of(constellation, victim)
    try:
        attack(bus, attacks)
        assert bus.state().worst_frame_late_s < HOP_LIMIT, "a frame of no time must not spoil the lateness"
    finally:
        bus.context.destroy(linger=0)
    name = constellation.mesh().name_of(NodeId(victim))
    assert name not in constellation.status()["satellites_lost"]
    escaped = constellation.directory.parent.rglob("*escaped*")
    assert [path for path in escaped if not path.is_relative_to(constellation.directory / "flash" / name)] == []


def test_the_attacked_constellation_still_computes(constellation: Constellation, expected_sha256: str) -> None:
    job = constellation.job("after-all")
    assert job.sha256 == expected_sha256
    assert constellation.status()["satellites_lost"] == []
