"""Does a model go up once, reach every satellite whatever breaks, and never serve when a byte of it is wrong?"""

from __future__ import annotations

import hashlib
import random

import msgspec
import pytest

from perigrid.job.spec import Catalogue, JobSpec
from perigrid.mesh.topology import Link, LinkKind
from perigrid.node.events import ListModels, PushModel, Submit, Watch
from perigrid.node.frames import HEADER_BYTES
from perigrid.node.manifest import Manifest, piece_bytes
from perigrid.node.replies import Ended, ModelAt, Models, PushedModel, Refused
from perigrid.scenario.model import Fault, Lasers
from perigrid.sim.blobs import SimBlob, sim_blob
from perigrid.sim.faults import Weather
from perigrid.sim.models import manifest_of
from perigrid.sim.world import SimConfig, World
from perigrid.units import MIB, NodeId
from tests.conftest import ring_scenario

CLIENT = 7
NO_DATA = Catalogue(())


def model_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def world_of(config: SimConfig | None = None, **changes: object) -> World:
    return World(ring_scenario(**changes), NO_DATA, config or SimConfig())  # type: ignore[arg-type]


def push(
    world: World,
    data: bytes,
    name: str = "big",
    targets: tuple[int, ...] = (),
    pinned: bool = False,
    manifest: Manifest | None = None,
) -> bytes:
    made, pieces = manifest_of(name, data, piece_bytes(len(data)))
    made = manifest or made
    world.ground_models[made.digest] = pieces
    world.request(PushModel(CLIENT, made, pieces, tuple(NodeId(n) for n in targets), pinned))
    return made.digest


def table(world: World) -> dict[str, PushedModel]:
    world.request(ListModels(CLIENT))
    reply = world.replies[-1][2]
    assert isinstance(reply, Models)
    return {found.manifest.name: found for found in reply.models}


def places(world: World, name: str = "big") -> dict[int, ModelAt]:
    return {int(place.satellite): place for place in table(world)[name].places}


def states(world: World, name: str = "big") -> dict[int, str]:
    return {node: place.state for node, place in places(world, name).items()}


def serving(world: World, name: str = "big") -> list[int]:
    return [int(node.node) for node in world.nodes if name in node.flash.models.served]


def until_served(world: World, count: int, limit_s: float, name: str = "big") -> None:
    assert world.run_until(limit_s, lambda: len(serving(world, name)) == count), (world.sky_s, states(world, name))
    world.run_until(world.sky_s + 2.0)


def noted(world: World, what: str) -> list[dict[str, str | int | float]]:
    return [note.fields for _, _, note in world.notes if note.what == what]


def up_bytes(world: World) -> int:
    return world.bytes_sent.get(LinkKind.RADIO, 0)


def test_40_mb_go_up_once_and_every_satellite_verifies_them() -> None:
    world, data = world_of(), model_bytes(40_000_000)
    world.run_until(0.5)
    before = up_bytes(world)
    digest = push(world, data)
    until_served(world, 12, 60.0)
    crossed = up_bytes(world) - before
    headers = HEADER_BYTES * (len(data) // 20_000 + 160)
    # Headers, the manifest, and a few hundred small messages: acknowledgements and what satellites say.
    assert len(data) < crossed < len(data) + headers + 100_000
    assert table(world)["big"].uplinked_bytes == len(data)
    # Over lasers it is a tree: each of the eleven others has had each piece once.
    lasers = world.bytes_sent[LinkKind.LASER]
    assert 11 * len(data) < lasers < 11 * len(data) * 1.02
    for node in world.nodes[:12]:
        assert hashlib.sha256(node.flash.models.held[digest].data).digest() == digest
    assert set(states(world).values()) == {"loaded"}
    # 40 MB take 2 s at 160 Mbit/s; what the last satellite has later than that is a pipeline's filling.
    (ended,) = noted(world, "model-pushed")
    assert 2.0 < float(ended["since_order_s"]) < 2.6


def test_pushing_again_moves_no_bytes() -> None:
    world, data = world_of(), model_bytes(2_000_000)
    push(world, data)
    until_served(world, 12, 20.0)
    lasers, radio = world.bytes_sent[LinkKind.LASER], up_bytes(world)
    push(world, data)
    world.run_until(world.sky_s + 5.0)
    assert world.bytes_sent[LinkKind.LASER] - lasers < 3_000 and up_bytes(world) - radio < 1_000
    assert len(noted(world, "model-order")) == 1


def test_two_models_at_once_share_the_way_up() -> None:
    world = world_of()
    push(world, model_bytes(4_000_000, 1), "one")
    push(world, model_bytes(4_000_000, 2), "two")
    until_served(world, 12, 20.0, "one")
    until_served(world, 12, 20.0, "two")
    assert up_bytes(world) < 8_200_000
    ended = [float(note["since_order_s"]) for note in noted(world, "model-pushed")]
    assert abs(ended[0] - ended[1]) < 0.3


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_deaths_half_way_only_delay_it(seed: int) -> None:
    chance = random.Random(seed)
    world, data = world_of(SimConfig(seed=seed, weather=Weather(loss=0.002))), model_bytes(4_000_000, seed)
    push(world, data)
    # Rings end at 11: a cut anywhere, and a satellite that dies with its flash and comes back.
    a = chance.randrange(12)
    names = world.mesh.names
    cut_s, kill_s, victim = chance.uniform(0.05, 0.3), chance.uniform(0.05, 0.3), NodeId(chance.randrange(12))
    world.at(cut_s, lambda: world.inject(Fault(at_s=cut_s, action="cut", a=names[a], b=names[(a + 1) % 12])))
    world.at(kill_s, lambda: world.kill(victim, lose_flash=chance.random() < 0.5))
    world.at(kill_s + 3.0, lambda: world.reboot(victim))
    until_served(world, 12, 120.0)
    world.run_until(world.sky_s + 10.0)
    assert set(states(world).values()) == {"loaded"}
    # What was under way on a link that broke went up again; not the whole.
    assert up_bytes(world) < 1.5 * len(data) + 200_000


def test_a_cut_half_way_sends_nothing_over_the_ground_link_twice() -> None:
    def run(cut: bool) -> tuple[int, float]:
        world, data = world_of(), model_bytes(6_000_000)
        world.run_until(0.5)
        before = up_bytes(world)
        push(world, data)
        if cut:
            world.at(0.65, lambda: world.inject(Fault(at_s=0.65, action="cut", a="sat-02", b="sat-03")))
        until_served(world, 12, 60.0)
        (ended,) = noted(world, "model-pushed")
        return up_bytes(world) - before, float(ended["since_order_s"])

    (calm_bytes, calm_s), (cut_bytes, cut_s) = run(False), run(True)
    assert cut_bytes < calm_bytes * 1.01
    assert calm_s < cut_s < calm_s + 5.0


def test_a_ground_link_cut_half_way_goes_on_where_it_was() -> None:
    world, data = world_of(), model_bytes(6_000_000)
    push(world, data)
    world.run_until(0.2)
    station = world.mesh.station_ids[0]
    seen = [world.mesh.names[link.other(station)] for link in world.plan.links_of(station) if is_up(world, link)]
    assert seen
    for name in seen:
        world.inject(Fault(at_s=0.2, action="cut", a=name, b="below"))
    world.run_until(20.0)
    assert not serving(world)
    for name in seen:
        world.inject(Fault(at_s=20.0, action="heal", a=name, b="below"))
    until_served(world, 12, 120.0)
    # Nothing that was acknowledged goes up again; a window of pieces may.
    assert table(world)["big"].uplinked_bytes < 1.5 * len(data)


def is_up(world: World, link: Link) -> bool:
    return link.kind is LinkKind.RADIO and world.plan.state(link, world.sky_s).up


def test_a_reboot_keeps_the_pieces_that_are_in_flash() -> None:
    def laser_bytes(lose_flash: bool) -> int:
        world, data = world_of(), model_bytes(3_000_000)
        push(world, data)
        until_served(world, 12, 20.0)
        before = world.bytes_sent[LinkKind.LASER]
        world.kill(NodeId(5), lose_flash)
        world.run_until(world.sky_s + 1.0)
        world.reboot(NodeId(5))
        until_served(world, 12, world.sky_s + 30.0)
        assert states(world)[5] == "loaded"
        return world.bytes_sent[LinkKind.LASER] - before

    assert laser_bytes(lose_flash=False) < 100_000
    assert 3_000_000 < laser_bytes(lose_flash=True) < 3_100_000


def test_a_restarted_controller_goes_on_with_a_push() -> None:
    world, data = world_of(), model_bytes(6_000_000)
    push(world, data)
    world.run_until(0.2)
    world.kill(world.mesh.ground)
    world.run_until(1.5)
    world.reboot(world.mesh.ground)
    until_served(world, 12, 60.0)
    world.run_until(world.sky_s + 8.0)
    assert set(states(world).values()) == {"loaded"}
    assert up_bytes(world) < 1.5 * len(data)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_bytes_that_are_not_the_piece_s_are_refused_everywhere_with_both_hashes() -> None:
    """The ground's file was changed after its manifest was made: the first satellite sees it in the piece."""
    world, data = world_of(), model_bytes(3_000_000)
    made, pieces = manifest_of("big", data, piece_bytes(len(data)))
    bad = flipped(data, 1_000_000)
    _, wrong_pieces = manifest_of("big", bad, piece_bytes(len(data)))
    lying = tuple(SimBlob(p.digest, p.length, w.data) for p, w in zip(pieces, wrong_pieces, strict=True))
    world.request(PushModel(CLIENT, made, lying, (), False))
    world.run_until(30.0)
    found = hashlib.sha256(lying[3].data).hexdigest()
    refusals = noted(world, "model-piece-refused")
    assert refusals and all(r["expected"] == pieces[3].digest.hex() and r["found"] == found for r in refusals)
    assert set(states(world).values()) <= {"refused", "absent"} and "refused" in states(world).values()
    assert all(found == place.found.hex() for place in places(world).values() if place.state == "refused")
    assert not serving(world) and not any(node.flash.models.held for node in world.nodes)
    # With the right bytes it goes up after all.
    push(world, data)
    until_served(world, 12, 60.0)


def test_a_model_one_byte_off_is_refused_everywhere_with_both_hashes() -> None:
    """Every piece is the manifest's, but the whole is not the model that was promised."""
    world, data = world_of(), model_bytes(3_000_000)
    promised = manifest_of("big", data, piece_bytes(len(data)))[0].digest
    bad = flipped(data, 2_999_999)
    lying = msgspec.structs.replace(manifest_of("big", bad, piece_bytes(len(bad)))[0], digest=promised)
    push(world, bad, manifest=lying)
    world.run_until(30.0)
    assert set(states(world).values()) == {"refused"}
    for place in places(world).values():
        assert place.found == hashlib.sha256(bad).digest() and place.satellite in range(12)
    assert any(promised.hex() in place.cause and place.found.hex() in place.cause for place in places(world).values())
    assert not serving(world) and not any(node.flash.models.held for node in world.nodes)


def test_scrubbing_finds_a_flipped_bit_and_a_neighbour_mends_it() -> None:
    world, data = world_of(SimConfig(scrub_s=60.0)), model_bytes(3_000_000)
    digest = push(world, data)
    until_served(world, 12, 20.0)
    radio = up_bytes(world)
    world.nodes[4].flash.models.held[digest].data[2_000_000] ^= 0x10
    assert world.run_until(120.0, lambda: bool(noted(world, "model-corrupt")))
    assert 4 not in serving(world)
    (corrupt,) = noted(world, "model-corrupt")
    assert corrupt["expected"] == digest.hex() and corrupt["found"] == hashlib.sha256(flipped16(data)).hexdigest()
    assert corrupt["wrong_pieces"] == 1
    until_served(world, 12, 200.0)
    assert hashlib.sha256(world.nodes[4].flash.models.held[digest].data).digest() == digest
    # One piece over one laser, and nothing but words over the ground link.
    assert up_bytes(world) - radio < 5_000
    scrubs = [place.rehashed_sky_s for place in places(world).values()]
    assert len(set(scrubs)) == 12


def flipped16(data: bytes) -> bytes:
    return data[:2_000_000] + bytes([data[2_000_000] ^ 0x10]) + data[2_000_001:]


def test_a_wrong_piece_from_a_neighbour_is_refused_and_the_neighbour_looks_at_its_own() -> None:
    world, data = world_of(), model_bytes(3_000_000)
    digest = push(world, data, targets=(0, 1))
    until_served(world, 2, 20.0)
    # Satellite 1 alone is next to 2; its flash decays, and its memory of the piece with it.
    held = world.nodes[1].flash.models.held[digest]
    held.data[300_000] ^= 1
    shelf = world.nodes[1].machine.shelf  # type: ignore[union-attr]
    good = shelf.copies[digest].blobs[1]
    shelf.copies[digest].blobs[1] = SimBlob(good.digest, good.length, held.piece(1))
    push(world, data, targets=(2,))
    until_served(world, 3, 60.0)
    assert noted(world, "model-piece-refused")[0]["from"] == 1
    assert noted(world, "model-corrupt")[0]["found"] == hashlib.sha256(flipped(data, 300_000)).hexdigest()
    assert serving(world) == [0, 1, 2]


def test_verify_makes_every_holder_hash_again() -> None:
    world, data = world_of(), model_bytes(1_000_000)
    digest = push(world, data)
    until_served(world, 12, 20.0)
    asked_s = world.sky_s
    world.nodes[9].flash.models.held[digest].data[5] ^= 1
    world.request(ListModels(CLIENT, rehash=True))
    world.run_until(world.sky_s + 5.0)
    assert all(place.rehashed_sky_s > asked_s for place in places(world).values())
    assert noted(world, "model-corrupt") and len(serving(world)) == 12
    mended = places(world)[9]
    assert mended.found == hashlib.sha256(flipped(data, 5)).digest() and mended.found.hex() in mended.cause


def test_named_satellites_alone_hold_it_and_those_between_carry_it() -> None:
    world, data = world_of(), model_bytes(2_000_000)
    push(world, data, targets=(1, 4))
    until_served(world, 2, 30.0)
    assert serving(world) == [1, 4]
    carried = [int(n.node) for n in world.nodes if n.flash.models.held and int(n.node) not in (1, 4)]
    assert carried == [2, 3]
    assert table(world)["big"].uplinked_bytes == len(data)
    # And when the rest want it too, it comes from those that have it.
    push(world, data)
    until_served(world, 12, 60.0)
    assert table(world)["big"].uplinked_bytes == len(data)


def test_flash_evicts_the_least_recently_used_that_nothing_needs() -> None:
    world = world_of(SimConfig(model_bytes=5 * MIB))
    for number, name in enumerate(("one", "two")):
        push(world, model_bytes(2 * MIB, number), name)
        until_served(world, 12, 20.0 * (number + 1), name)
    shelf = world.nodes[3].machine.shelf  # type: ignore[union-attr]
    shelf.used(world._now(world.nodes[3]), "one")
    push(world, model_bytes(2 * MIB, 9), "three")
    until_served(world, 12, 60.0, "three")
    assert states(world, "one")[2] == "evicted" and states(world, "two")[2] == "loaded"
    assert states(world, "one")[3] == "loaded" and states(world, "two")[3] == "evicted"
    # What was evicted comes back when it is pushed again; what never fits is refused and says why.
    push(world, model_bytes(2 * MIB, 0), "one")
    until_served(world, 12, 90.0, "one")
    push(world, model_bytes(6 * MIB, 5), "huge")
    world.run_until(world.sky_s + 10.0)
    assert set(states(world, "huge").values()) == {"no-room"}
    assert all("do not fit" in place.cause for place in places(world, "huge").values())


def test_pinned_models_stay() -> None:
    world = world_of(SimConfig(model_bytes=3 * MIB))
    push(world, model_bytes(2 * MIB, 1), "one", pinned=True)
    until_served(world, 12, 20.0, "one")
    push(world, model_bytes(2 * MIB, 2), "two")
    world.run_until(world.sky_s + 10.0)
    assert set(states(world, "two").values()) == {"no-room"} and set(states(world, "one").values()) == {"loaded"}


def test_what_leased_work_needs_stays() -> None:
    world = world_of(SimConfig(model_bytes=5 * MIB))
    for number, name in enumerate(("one", "two")):
        push(world, model_bytes(2 * MIB, number), name)
        until_served(world, 12, 20.0 * (number + 1), name)
    # The least recently used one is what a long task of satellite 6 runs on.
    world.nodes[6].machine.shelf._needed = lambda model: model == "one"  # type: ignore
    push(world, model_bytes(2 * MIB, 9), "three")
    until_served(world, 12, 60.0, "three")
    assert (states(world, "one")[6], states(world, "two")[6]) == ("loaded", "evicted")
    assert (states(world, "one")[5], states(world, "two")[5]) == ("evicted", "loaded")


def test_names_that_are_taken_are_refused() -> None:
    world = world_of()
    push(world, model_bytes(300_000), "tinycloud")
    push(world, model_bytes(300_000, 1), "one")
    push(world, model_bytes(300_000, 2), "one")
    push(world, model_bytes(300_000, 1), "other")
    world.run_until(1.0)
    causes = [reply.cause for _, _, reply in world.replies if isinstance(reply, Refused)]
    assert [cause.split()[0] for cause in causes] == ["a", "another", "these"]


def test_a_job_runs_on_a_pushed_model_where_it_is_loaded() -> None:
    from tests.conftest import ring_catalogue

    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    push(world, model_bytes(1_000_000), "fresh")
    spec = JobSpec(job="a", model="fresh", dataset="scene", tiles_per_shard=2)
    world.request(Submit(CLIENT, spec))
    assert isinstance(world.replies[-1][2], Refused), "nobody has it yet"
    world.run_until(0.2)
    assert 0 < len(serving(world, "fresh")) < 12
    world.request(Submit(CLIENT, spec))
    refused = world.replies[-1][2]
    assert isinstance(refused, Refused) and "not loaded where the data lie" in refused.cause
    until_served(world, 12, 20.0, "fresh")
    world.request(Submit(CLIENT, spec))
    world.run_until(world.sky_s + 0.1)
    world.request(Watch(CLIENT, "a", 0))
    assert world.run_until(world.sky_s + 60.0, lambda: isinstance(world.replies[-1][2], Ended))
    ended = world.replies[-1][2]
    assert isinstance(ended, Ended) and ended.ending.outcome == "complete"


def test_slow_lasers_pass_pieces_on_while_later_ones_come_up() -> None:
    world, data = world_of(lasers=Lasers(rate_bps=200e6, acquire_s=1.0)), model_bytes(6_000_000)
    push(world, data)
    until_served(world, 12, 60.0)
    (ended,) = noted(world, "model-pushed")
    # Store and forward of the whole would take .24 s a hop, six hops deep, after .3 s for the way up.
    assert float(ended["since_order_s"]) < 1.2


def test_equal_seeds_spread_a_model_alike() -> None:
    def trace() -> str:
        world = world_of(SimConfig(seed=3, weather=Weather(0.01, 0.01, 0.01)))
        push(world, model_bytes(2_000_000))
        world.run_until(20.0)
        return hashlib.sha256(repr(world.notes).encode()).hexdigest()

    assert trace() == trace()


def test_sim_blobs_hash_what_they_hold() -> None:
    assert sim_blob(b"x").digest == hashlib.sha256(b"x").digest()


def test_who_is_between_two_without_room_is_sent_it_from_the_ground() -> None:
    world = world_of(SimConfig(model_bytes=3 * MIB))
    push(world, model_bytes(2 * MIB, 1), "stays", targets=(2, 4), pinned=True)
    until_served(world, 2, 30.0, "stays")
    push(world, model_bytes(2 * MIB, 2))
    # Whoever carried "stays" lets it go for this; those who must keep it have no room, and 3 is between them.
    until_served(world, 10, 90.0)
    assert states(world)[2] == states(world)[4] == "no-room" and states(world)[3] == "loaded"
    assert [note["root"] for note in noted(world, "model-root")][-1] == "sat-04"
    assert table(world)["big"].uplinked_bytes == 4 * MIB


def test_pushes_under_way_and_models_held_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perigrid.node.pushes.MAX_UNFINISHED", 2)
    monkeypatch.setattr("perigrid.node.models.MAX_MODELS_HELD", 2)
    world = world_of()
    for number in range(3):
        push(world, model_bytes(100_000, number), f"m{number}")
    (refused,) = [reply for _, _, reply in world.replies if isinstance(reply, Refused)]
    assert refused.job == "m2" and "the limits are 256 and 2" in refused.cause
    for name in ("m0", "m1"):
        until_served(world, 12, 20.0, name)
    push(world, model_bytes(100_000, 2), "m2")
    until_served(world, 12, 40.0, "m2")
    held = [len(node.flash.models.held) for node in world.nodes[:12]]
    assert held == [2] * 12 and len(noted(world, "model-evicted")) == 12
