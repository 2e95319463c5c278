"""Does every message get there once, over a wire that loses, doubles and reorders, and within its bounds?"""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.routes import Routes
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.node.actions import Send
from perigrid.node.blobs import Blob
from perigrid.node.custody import MAX_SEEN_AHEAD, MAX_TRIES, Incoming, Outgoing, window_bytes
from perigrid.node.frames import (
    HOP_LIMIT,
    MAX_DEAD_LINKS_MET,
    CustodyAck,
    Frame,
    Hello,
    LinkAdvert,
    Priority,
    Probe,
    size_on_link_bytes,
)
from perigrid.node.relay import ADVERT_LIFETIME_S, WAKE_CUSTODY, WAKE_DEAF, Relay
from perigrid.node.transfers import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, Sender
from perigrid.units import MIB, NodeId
from tests.conftest import ring_scenario
from tests.node.wires import End, Wire, at, end, laser, notes, plan, sent

FATES = st.lists(st.sampled_from(["pass", "pass", "lose", "double", "delay"]), max_size=60)
CALM_S = 60.0
"""By then every lost frame has been sent again often enough, and what waited has been tried anew."""


def pair(weather: list[str]) -> tuple[Wire, End, End]:
    """Two neighbours on the ring and the laser between them."""
    one, two = end(2), end(3)
    return Wire({NodeId(2): one, NodeId(3): two}, weather), one, two


def submit(wire: Wire, source: End, destination: int, count: int, payload_bytes: int, chunk: int) -> list[int]:
    """Send some messages; the traces by which they are known."""
    traces = []
    for number in range(count):
        blob = Blob(bytes([number]) * 32, payload_bytes) if payload_bytes else None
        frames = source.relay.sender.frames(
            NodeId(destination), Probe(number), priority=Priority.BULK, payload=blob, chunk=chunk
        )
        traces.append(frames[0].trace)
        wire.do(source.relay.node, source.relay.submit(at(wire.now_s), frames))
    return traces


@settings(deadline=None, max_examples=60)
@given(weather=FATES, count=st.integers(1, 6), chunks=st.integers(0, 5))
def test_each_message_arrives_once_over_any_weather(weather: list[str], count: int, chunks: int) -> None:
    wire, one, two = pair(weather)
    traces = submit(wire, one, 3, count, chunks * 1000, 1000)
    wire.run(CALM_S)
    assert sorted(m.trace for m in two.messages) == sorted(traces)
    assert all(sum(p.length for p in m.pieces) == chunks * 1000 for m in two.messages)
    assert all([p.offset for p in m.pieces] == sorted(p.offset for p in m.pieces) for m in two.messages)
    assert wire.at_rest()


@settings(deadline=None, max_examples=20)
@given(weather=FATES)
def test_messages_cross_three_hops_once_whatever_is_lost_between(weather: list[str]) -> None:
    ends = {NodeId(n): end(n) for n in (2, 3, 4, 5)}
    wire = Wire(ends, weather)
    traces = submit(wire, ends[NodeId(2)], 5, 3, 2500, 1000)
    wire.run(CALM_S)
    assert sorted(m.trace for m in ends[NodeId(5)].messages) == sorted(traces)
    assert {m.hops for m in ends[NodeId(5)].messages} == {3}
    assert not ends[NodeId(3)].messages and not ends[NodeId(4)].messages
    assert wire.at_rest()


@settings(deadline=None, max_examples=20)
@given(weather=FATES, chunk=st.sampled_from([64 * 1024, MIB // 3, MAX_CHUNK_BYTES]))
def test_unacknowledged_bulk_never_passes_the_window(weather: list[str], chunk: int) -> None:
    wire, one, two = pair(weather)
    window = window_bytes(plan().state(laser(2, 3), 0.0))
    traces = submit(wire, one, 3, 2, int(window), chunk)
    wire.run(CALM_S)
    # The last frame that the window let in may reach over its edge.
    assert 0 < wire.most_held_bytes < window + chunk + 1000
    assert sorted(m.trace for m in two.messages) == sorted(traces)


def test_a_control_frame_needs_no_credit() -> None:
    wire, one, _ = pair([])
    window = int(window_bytes(plan().state(laser(2, 3), 0.0)))
    submit(wire, one, 3, 1, 2 * window, MAX_CHUNK_BYTES)
    assert one.relay._outgoing[laser(2, 3)].backlog
    frames = one.relay.sender.frames(NodeId(3), Hello())
    assert len(sent(one.relay.submit(at(0.0), frames))) == 1


def test_what_waits_for_credit_goes_on_after_a_silent_link_was_given_up() -> None:
    # The far end hears nothing for a while (a one-way cut), and neither terminal says a word.
    wire, one, two = pair([])
    wire.dark.add((NodeId(2), NodeId(3)))
    window = int(window_bytes(plan().state(laser(2, 3), 0.0)))
    traces = submit(wire, one, 3, 3, window, MAX_CHUNK_BYTES)
    assert one.relay._outgoing[laser(2, 3)].backlog
    wire.run(20.0)
    assert "custody-gave-up" in [note.what for note in one.notes]
    wire.dark.clear()
    wire.run(20.0 + 2 * CALM_S)
    assert sorted({m.trace for m in two.messages}) == sorted(traces)
    assert wire.at_rest()


def test_a_frame_is_tried_so_often_and_then_sent_another_way() -> None:
    one = end(2)
    wire = Wire({NodeId(2): one})
    submit(wire, one, 3, 1, 0, 1)
    while "custody-gave-up" not in [note.what for note in one.notes]:
        wire.run(wire.now_s + 0.1)
        assert wire.now_s < CALM_S
    assert [n.what for n in one.notes].count("custody-resend") == MAX_TRIES - 1
    # The long way round: the frame is held towards the other neighbour, and remembers the dead link.
    (held,) = one.relay._outgoing[laser(1, 2)].held.values()
    assert laser(2, 3) in held.frame.met


def test_the_hop_limit_ends_a_frame() -> None:
    middle = end(3)
    frame = one_frame(hop_limit=1, destination=5)
    actions, mine = middle.relay.arrived(at(0.0), laser(2, 3), frame)
    assert mine is None and notes(actions) == ["hop-limit"] and sent(actions) == []
    frame = one_frame(hop_limit=2, destination=5)
    actions, _ = middle.relay.arrived(at(0.0), laser(2, 3), frame)
    (passed,) = sent(actions)
    assert (passed.hop_limit, passed.hops) == (1, 1)


@settings(deadline=None)
@given(known=st.lists(st.integers(0, 11), max_size=12, unique=True), met=st.integers(0, MAX_DEAD_LINKS_MET))
def test_the_dead_links_that_a_frame_remembers_are_bounded(known: list[int], met: int) -> None:
    here = end(2)
    for n in known:
        link = laser(n, (n + 1) % 12)
        if link not in here.relay.up:
            here.relay.arrived(at(0.0), laser(2, 3), advert(link, up=False, since_s=0.0))
    frame = one_frame(destination=5, met=tuple(laser(n, (n + 1) % 12) for n in range(6, 6 + met) if n < 12)[:met])
    actions, _ = here.relay.arrived(at(1.0), laser(1, 2), frame)
    for passed in [*sent(actions), *(w.frame for w in here.relay.waiting)]:
        assert len(passed.met) <= MAX_DEAD_LINKS_MET
        assert len(set(passed.met)) == len(passed.met)


def one_frame(destination: int, **changes: object) -> Frame:
    values = {
        "source": NodeId(2),
        "destination": NodeId(destination),
        "priority": Priority.CONTROL,
        "body": Probe(1),
        "transfer": 1,
        "trace": 1,
    }
    return Frame(**{**values, **changes})  # type: ignore[arg-type]


def advert(link: Link, up: bool, since_s: float, to: int = 2) -> Frame:
    return one_frame(destination=to, body=LinkAdvert(link, up, since_s), transfer=hash((link, up, since_s)) & 0xFFFF)


# --- what a node knows of dead links


def test_word_of_a_lost_link_is_taken_and_word_of_its_return_too() -> None:
    here = end(2)
    far = laser(6, 7)
    here.relay.arrived(at(1.0), laser(2, 3), advert(far, up=False, since_s=1.0))
    assert far in here.relay.dead()
    here.relay.arrived(at(2.0), laser(2, 3), advert(far, up=True, since_s=2.0))
    assert far not in here.relay.dead()


def test_old_word_that_was_held_up_does_not_overrule_newer_word() -> None:
    # The end behind the cut could not say so before it was healed.
    here = end(2)
    far = laser(6, 7)
    here.relay.arrived(at(2.0), laser(2, 3), advert(far, up=False, since_s=1.0))
    here.relay.arrived(at(3.0), laser(2, 3), advert(far, up=True, since_s=2.9))
    here.relay.arrived(at(3.1), laser(1, 2), advert(far, up=False, since_s=1.001))
    assert far not in here.relay.dead()


def test_a_node_s_own_terminal_knows_better() -> None:
    here = end(2)
    here.relay.arrived(at(1.0), laser(2, 3), advert(laser(1, 2), up=False, since_s=1.0))
    assert laser(1, 2) not in here.relay.dead()


def test_word_of_a_lost_link_is_forgotten_in_time_though_nothing_waits_for_it() -> None:
    here = end(2)
    wire = Wire({NodeId(2): here})
    far = laser(6, 7)
    actions, _ = here.relay.arrived(at(0.0), laser(2, 3), advert(far, up=False, since_s=0.0))
    wire.do(NodeId(2), actions)
    wire.run(ADVERT_LIFETIME_S - 1.0)
    assert far in here.relay.dead()
    wire.run(ADVERT_LIFETIME_S + 10.0)
    assert far not in here.relay.dead()


def test_what_waited_for_a_link_goes_as_soon_as_word_of_its_return_comes() -> None:
    here = end(2)
    wire = Wire({NodeId(2): here})
    for link in (laser(6, 7), laser(0, 11)):
        here.relay.arrived(at(0.0), laser(2, 3), advert(link, up=False, since_s=0.0))
    (trace,) = submit(wire, here, 9, 1, 0, 1)
    assert [w.frame.trace for w in here.relay.waiting] == [trace]
    assert "sat-07 - sat-08" in here.relay.waiting[0].reason and "sat-01 - sat-12" in here.relay.waiting[0].reason
    actions, _ = here.relay.arrived(at(1.0), laser(2, 3), advert(laser(6, 7), up=True, since_s=1.0))
    assert trace in [frame.trace for frame in sent(actions)]


def test_a_lost_link_is_told_to_its_other_end_the_neighbours_and_the_ground_and_nobody_else() -> None:
    here = end(5)
    actions = here.relay.link_down(at(1.0), laser(5, 6), planned=False)
    told = [f for f in sent(actions) if isinstance(f.body, LinkAdvert)]
    assert {f.destination for f in told} == {NodeId(4), NodeId(6), NodeId(13)}
    assert here.relay.link_down(at(1.1), laser(5, 6), planned=False) == []
    planned = end(5).relay.link_down(at(1.0), laser(5, 6), planned=True)
    assert not [f for f in sent(planned) if isinstance(f.body, LinkAdvert)]


def test_a_link_that_is_down_by_the_plan_is_not_told_as_lost_though_it_was_lost_before() -> None:
    wire = Wire({NodeId(n): end(n, ground=3) for n in range(12)})
    here, neighbour = (wire.ends[NodeId(n)].relay for n in (2, 3))
    wire.do(here.node, here.link_down(at(0.0), laser(1, 2), planned=False))
    wire.run(1.0)
    assert laser(1, 2) in neighbour.told_dead
    wire.do(here.node, here.link_up(at(1.0), laser(1, 2)))
    wire.run(2.0)
    assert not neighbour.told_dead
    wire.do(here.node, here.link_down(at(2.0), laser(1, 2), planned=True))
    # Another link is lost and returns, and the node behind it is told what it may have missed.
    for relay in (here, neighbour):
        wire.do(relay.node, relay.link_down(at(2.0), laser(2, 3), planned=False))
    wire.run(3.0)
    for relay in (here, neighbour):
        wire.do(relay.node, relay.link_up(at(3.0), laser(2, 3)))
    wire.run(4.0)
    assert not neighbour.told_dead


def test_what_was_under_way_on_a_lost_link_goes_another_way_at_once() -> None:
    here = end(5)
    wire = Wire({NodeId(5): here})
    (trace,) = submit(wire, here, 7, 1, 0, 1)
    assert [h.frame.trace for h in here.relay._outgoing[laser(5, 6)].held.values()] == [trace]
    again = [f for f in sent(here.relay.link_down(at(0.1), laser(5, 6), planned=False)) if f.trace == trace]
    assert len(again) == 1 and laser(5, 6) in again[0].met
    assert not here.relay._outgoing[laser(5, 6)].held


# --- one direction of a link


def test_numbers_are_told_apart_for_ever_within_one_boot() -> None:
    incoming = Incoming()
    frame = one_frame(destination=3, custody=1, boot=1, floor=1)
    assert incoming.is_new(frame) is True
    for number in range(2, 5000):
        assert incoming.is_new(msgspec.structs.replace(frame, custody=number, floor=number)) is True
    assert incoming.is_new(frame) is False
    assert incoming.is_new(msgspec.structs.replace(frame, boot=2)) is True
    assert incoming.is_new(frame) is None, "a former life's frame must not be taken"
    assert not incoming.ahead


def test_what_is_remembered_beyond_the_contiguous_is_bounded() -> None:
    incoming = Incoming(boot=1)
    incoming.ahead = set(range(10, 10 + MAX_SEEN_AHEAD))
    assert incoming.is_new(one_frame(destination=3, custody=5, boot=1)) is None
    assert len(incoming.ahead) == MAX_SEEN_AHEAD


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), max_size=40))
def test_credit_is_what_is_held(operations: list[tuple[bool, int]]) -> None:
    outgoing = Outgoing(boot=1)
    state = plan().state(laser(2, 3), 0.0)
    numbers: list[int] = []
    for take, size in operations:
        if take:
            blob = Blob(b"", size)
            frame = end_frame(blob)
            numbers.append(outgoing.take(frame, 0.0, state).custody)
        elif numbers:
            assert outgoing.acknowledged(numbers.pop(size % len(numbers)), 1.0)
        assert outgoing.bulk_bytes == sum(size_on_link_bytes(h.frame) for h in outgoing.held.values())
        assert sorted(outgoing.held) == sorted(numbers)
        assert sorted(n for flow in outgoing.flows.values() for n in flow) == sorted(numbers)
    assert not outgoing.acknowledged(10_000, 1.0)


def test_a_frame_that_waits_for_its_turn_is_not_overdue() -> None:
    """Its time begins when the one before it, of the same transfer, has arrived."""
    outgoing, state = Outgoing(boot=1), plan().state(laser(2, 3), 0.0)
    frames = Sender(NodeId(2), 1).frames(
        NodeId(0), Probe(1), payload=Blob(b"", 3 * MIN_CHUNK_BYTES), chunk=MIN_CHUNK_BYTES
    )
    first, second, third = (outgoing.take(frame, 0.0, state).custody for frame in frames)
    timeout_s = outgoing.held[first].due_s
    assert outgoing.overdue(timeout_s) == [first, second, third]
    outgoing.acknowledged(first, timeout_s)
    assert outgoing.overdue(timeout_s) == []
    assert outgoing.overdue(2 * timeout_s) == [second, third]
    outgoing.release(second)
    assert outgoing.overdue(2 * timeout_s) == [third]


def test_a_neighbour_that_is_slow_to_answer_is_soon_waited_for() -> None:
    outgoing, state, now_s, sendings = Outgoing(boot=1), plan().state(laser(2, 3), 0.0), 0.0, 0
    outgoing.take(one_frame(destination=3), now_s, state)
    round_trip_s = 1.5 * outgoing.held[1].timeout_s
    outgoing.release(1)
    for number in range(20):
        outgoing.take(one_frame(destination=3, transfer=number + 2), now_s, state)
        sendings += 1
        while outgoing.held:
            ((custody, held),) = outgoing.held.items()
            if held.due_s < held.sent_s + round_trip_s:
                # Too early: it goes out again, and the answer to the former sending counts for nothing.
                outgoing.release(custody)
                outgoing.take(held.frame, held.due_s, state, held.tries + 1)
                sendings += 1
            else:
                now_s = held.sent_s + round_trip_s
                outgoing.acknowledged(custody, now_s)
    assert sendings < 20 + MAX_TRIES


def end_frame(blob: Blob) -> Frame:
    from perigrid.node.blobs import whole

    return one_frame(destination=3, priority=Priority.BULK, payload=whole(blob), total=blob.length)


def test_an_acknowledgement_from_nowhere_changes_nothing() -> None:
    here = end(2)
    unknown = Link(NodeId(900), NodeId(901), LinkKind.LASER)
    assert here.relay.arrived(at(0.0), unknown, one_frame(destination=2, body=CustodyAck((1, 2)))) == ([], None)
    assert HOP_LIMIT > 36 + 39


def test_who_does_not_hear_goes_on_saying_so_to_the_other_end_alone() -> None:
    here = end(5)
    (wake,) = [
        a for a in here.relay.link_down(at(1.0), laser(5, 6), planned=False) if getattr(a, "key", "") == WAKE_DEAF
    ]
    assert wake.local_s < 1.0 + ADVERT_LIFETIME_S, "before the other end forgets it"
    again = here.relay.woken(at(wake.local_s), WAKE_DEAF)
    assert [(f.destination, f.body.up) for f in sent(again) if isinstance(f.body, LinkAdvert)] == [(NodeId(6), False)]
    here.relay.link_up(at(40.0), laser(5, 6))
    assert here.relay.woken(at(60.0), WAKE_DEAF) == []


def test_what_is_overdue_as_the_plan_ends_a_contact_goes_another_way() -> None:
    contacts = plan()
    radio = next(link for link in contacts.links_of(NodeId(0)) if link.kind is LinkKind.RADIO)
    set_s = contacts.next_change(radio, 0.0)
    one = end(0)
    one.relay.link_up(at(set_s - 30.0), radio)
    frames = one.relay.sender.frames(contacts.mesh.ground, Probe(1))
    assert [f.trace for f in sent(one.relay.submit(at(set_s - 0.01), frames))] == [frames[0].trace]
    # The acknowledgement is overdue, the pass is over, and the terminal has not said so yet.
    actions = one.relay.woken(at(set_s + 25.0), WAKE_CUSTODY)
    assert not any(isinstance(action, Send) and action.link == radio for action in actions)
    kept = [*(f.trace for f in sent(actions)), *(waiting.frame.trace for waiting in one.relay.waiting)]
    assert kept == [frames[0].trace]


def test_what_a_station_may_send_unacknowledged_is_reckoned_with_its_uplink() -> None:
    scenario = ring_scenario()
    ground = msgspec.structs.replace(scenario.ground_link, rate_bps=10e9, uplink_bps=1e6)
    scenario = msgspec.structs.replace(scenario, ground_link=ground)
    mesh = Mesh(scenario)
    contacts = ContactPlan(scenario, mesh)
    contacts.add(compute_segment(scenario, mesh, 0))
    radio = next(link for link in contacts.links if link.kind is LinkKind.RADIO)
    rises_s = 0.0 if contacts.state(radio, 0.0).up else contacts.next_change(radio, 0.0)
    state = contacts.state(radio, rises_s + 1.0)
    window = {radio.a: window_bytes(state), radio.b: window_bytes(state.seen_from(radio, radio.b))}
    assert window[radio.a] > 2 * window[radio.b]
    for node, other in ((radio.a, radio.b), (radio.b, radio.a)):
        relay = Relay(node, 1, mesh.ground, contacts, Routes(contacts))
        relay.link_up(at(rises_s + 1.0), radio)
        payload = Blob(bytes(32), 8 * MIB)
        frames = relay.sender.frames(other, Probe(1), priority=Priority.BULK, payload=payload, chunk=MIN_CHUNK_BYTES)
        under_way = sum(size_on_link_bytes(frame) for frame in sent(relay.submit(at(rises_s + 1.0), frames)))
        assert 0 < under_way <= window[node] + 2 * MIN_CHUNK_BYTES
        assert under_way >= min(window[node], 8 * MIB) - 2 * MIN_CHUNK_BYTES
