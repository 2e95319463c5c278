"""Is every inference asked of the ground answered once or declined once, whatever the world does, and truly?"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from perigrid.job.spec import JobSpec
from perigrid.node.controller import Controller
from perigrid.node.events import Ask, HangUp, Submit, Watch
from perigrid.node.replies import Answered, Declined, Ended
from perigrid.node.satellite import Satellite
from perigrid.scenario.model import Fault
from perigrid.sim.faults import Weather, random_faults
from perigrid.sim.world import SimBlob, SimConfig, World, sim_blob, simulated_result
from perigrid.units import NodeId
from tests.conftest import ring_catalogue, ring_scenario

SEEDS = 20
REQUESTS = 24
PATIENT_S, LIMIT_S = 200.0, 400.0
MODEL = "tinycloud"


def input_of(number: int) -> bytes:
    """Each request has its own input, some of several chunks."""
    return random.Random(number).randbytes(200 if number % 3 else 150_000)


def ask(world: World, number: int, deadline_sky_s: float | None = None, **changes: object) -> None:
    values = {"satellite": None, "nearest": False, "priority": 10, "deadline_sky_s": deadline_sky_s, **changes}
    world.request(Ask(client=-number, model=MODEL, input=sim_blob(input_of(number)), **values))  # type: ignore[arg-type]


def replies(world: World, number: int) -> list[Answered | Declined]:
    return [r for _, client, r in world.replies if client == -number and isinstance(r, Answered | Declined)]


def all_told(world: World, numbers: range) -> Callable[[], bool]:
    return lambda: {-client for _, client, _ in world.replies} >= set(numbers)


def is_true(answer: Answered, number: int) -> bool:
    """Is that what a device computes of this input?"""
    blob = answer.blob
    return isinstance(blob, SimBlob) and blob.data == simulated_result(MODEL, input_of(number), (0,))


def nothing_is_left(world: World) -> bool:
    """Does nobody hold anything of any request any more?"""
    for record in world.nodes:
        machine = record.machine
        if isinstance(machine, Satellite):
            tasks = [*machine.running.values(), *machine.queued.values()]
            if any(task.shard.is_request for task in tasks) or machine.kills:
                return False
            if any(job.startswith("request.") for job, _ in [*machine.finished, *machine._keeping]):
                return False
        if any(job.startswith("request.") for job, _ in record.flash.results):
            return False
        if isinstance(machine, Controller) and (machine.requests.active or machine.requests._input_bytes):
            return False
    return True


def rough_world(seed: int, service_s: float = 0.05) -> tuple[World, random.Random]:
    """A ring in bad weather whose lasers are cut, and whose satellites crash, within the first twenty seconds."""
    generator = random.Random(seed)
    weather = Weather(loss=0.05 * generator.random(), duplicate=0.05, jitter_s=0.02)
    scenario = ring_scenario()
    config = SimConfig(seed=seed, weather=weather, skew=0.01, service_s=service_s)
    world = World(scenario, ring_catalogue(scenario), config)
    names = world.mesh.names
    lasers = [(names[x.a], names[x.b]) for x in world.mesh.lasers]
    for fault in random_faults(generator, lasers, list(names[:12]), span_s=20.0):
        world.at(fault.at_s, lambda fault=fault: world.inject(fault))  # type: ignore[misc]
    return world, generator


@pytest.mark.parametrize("seed", range(SEEDS))
def test_faults_of_a_seed_change_no_answer(seed: int) -> None:
    world, generator = rough_world(seed)
    for number in range(1, REQUESTS + 1):
        changes = {"nearest": generator.random() < 0.2, "priority": generator.randrange(20)}
        world.at(generator.uniform(0.1, 10.0), lambda n=number, c=changes: ask(world, n, PATIENT_S, **c))  # type: ignore[misc]
    assert world.run_until(LIMIT_S, all_told(world, range(1, REQUESTS + 1)))
    for number in range(1, REQUESTS + 1):
        (reply,) = replies(world, number)
        assert isinstance(reply, Answered) and is_true(reply, number), f"request {number}: {reply}"
    assert world.run_until(LIMIT_S, lambda: nothing_is_left(world)), "what is over is forgotten everywhere"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_request_ends_once_by_its_deadline_or_with_its_client(seed: int) -> None:
    world, generator = rough_world(seed, service_s=1.0)
    hung_up, deadlines = set(), {}
    for number in range(1, REQUESTS + 1):
        start_s = generator.uniform(0.1, 10.0)
        pinned = NodeId(generator.randrange(12)) if generator.random() < 0.3 else None
        # Nobody could answer the first one in time.
        deadlines[number] = deadline_s = start_s + (0.001 if number == 1 else generator.uniform(0.01, 6.0))
        changes = {"satellite": pinned, "deadline_sky_s": deadline_s}
        world.at(start_s, lambda n=number, c=changes: ask(world, n, **c))  # type: ignore[misc]
        if number > 1 and generator.random() < 0.3:
            hung_up.add(number)
            world.at(generator.uniform(start_s, deadline_s), lambda n=number: world.request(HangUp(-n)))  # type: ignore[misc]
    world.run_until(60.0)
    reasons = set()
    for number, deadline_s in deadlines.items():
        found = [(t, r) for t, client, r in world.replies if client == -number]
        assert len(found) == 1 or (number in hung_up and not found), f"request {number}: {found}"
        for told_s, reply in found:
            if isinstance(reply, Answered):
                assert is_true(reply, number) and told_s <= deadline_s + 0.01
            else:
                assert reply.reason == "deadline" and told_s <= deadline_s + 0.1
            reasons.add(type(reply))
    assert Declined in reasons
    assert world.run_until(LIMIT_S, lambda: nothing_is_left(world)), "what is over is forgotten everywhere"


@pytest.mark.parametrize("seed", range(10))
def test_a_controller_that_crashes_takes_its_requests_with_it_and_answers_new_ones(seed: int) -> None:
    world, generator = rough_world(seed, service_s=0.5)
    crash_s = generator.uniform(1.0, 5.0)
    for number in range(1, REQUESTS + 1):
        world.at(generator.uniform(0.1, crash_s), lambda n=number: ask(world, n))  # type: ignore[misc]
    world.at(crash_s, lambda: world.kill(world.mesh.ground))
    world.at(crash_s + 1.0, lambda: world.reboot(world.mesh.ground))
    world.run_until(crash_s + 1.5)
    told = {-client for _, client, _ in world.replies}
    again = [number for number in range(1, REQUESTS + 1) if number not in told]
    assert again
    for number in again:
        ask(world, number)
    assert world.run_until(LIMIT_S, all_told(world, range(1, REQUESTS + 1)))
    for number in range(1, REQUESTS + 1):
        (reply,) = replies(world, number)
        assert isinstance(reply, Answered) and is_true(reply, number)
    assert world.run_until(LIMIT_S, lambda: nothing_is_left(world)), "what is over is forgotten everywhere"


def calm_world(**changes: object) -> World:
    scenario = ring_scenario()
    return World(scenario, ring_catalogue(scenario), SimConfig(**changes))  # type: ignore[arg-type]


def cut(world: World, a: int, action: str = "cut") -> None:
    """Cut or heal the laser between a satellite and the next one; the first is 1."""
    world.inject(Fault(at_s=0.0, action=action, a=f"sat-{a:02d}", b=f"sat-{a % 12 + 1:02d}"))  # type: ignore[arg-type]


def asked(world: World) -> list[str]:
    return [str(n.fields["satellite"]) for _, _, n in world.notes if n.what == "assign"]


def test_links_cut_in_mid_request_end_it_on_another_satellite_and_the_slot_is_free_again() -> None:
    world = calm_world(service_s=3.0)
    world.run_until(0.5)
    ask(world, 1, nearest=True)
    ask(world, 2)
    world.run_until(1.0)
    first, second = asked(world)
    assert (first, second) == ("sat-01", "sat-02"), "one above the station, and its neighbour"
    cut(world, 1)
    cut(world, 2)
    ask(world, 3, world.sky_s + 4.0, satellite=world.mesh.id_of(second))
    assert world.run_until(60.0, all_told(world, range(1, 4)))
    (reply,) = replies(world, 2)
    assert isinstance(reply, Answered) and is_true(reply, 2)
    assert reply.satellite != second and reply.attempt == 2
    assert [r.reason for r in replies(world, 3) if isinstance(r, Declined)] == ["deadline"]

    machine = world.nodes[world.mesh.id_of(second)].machine
    assert isinstance(machine, Satellite)
    assert world.run_until(60.0, lambda: not machine.running)
    cut(world, 1, "heal")
    assert world.run_until(60.0, lambda: nothing_is_left(world))
    ask(world, 4, satellite=world.mesh.id_of(second))
    assert world.run_until(60.0, all_told(world, range(4, 5)))
    (reply,) = replies(world, 4)
    assert isinstance(reply, Answered) and reply.satellite == second and reply.stages.queue_s == 0.0


def test_who_computes_in_vain_is_stopped_as_soon_as_word_reaches_it() -> None:
    world = calm_world(service_s=30.0)
    world.run_until(0.5)
    for number in (1, 2):
        ask(world, number, satellite=world.mesh.id_of("sat-02"))
    world.run_until(1.0)
    machine = world.nodes[world.mesh.id_of("sat-02")].machine
    assert isinstance(machine, Satellite)
    assert [t.job for t in machine.running.values()] == ["request.1.1"]
    world.request(HangUp(-1))
    world.run_until(1.5)
    assert [t.job for t in machine.running.values()] == ["request.1.2"]
    cut(world, 1)
    cut(world, 2)
    world.run_until(1.6)
    world.request(HangUp(-2))
    world.run_until(3.0)
    assert machine.running, "no word could come"
    cut(world, 2, "heal")
    assert world.run_until(6.0, lambda: not machine.running)


def test_fifty_requests_and_a_job_share_the_ring() -> None:
    world = calm_world()
    world.run_until(0.5)
    world.request(Submit(1, JobSpec(job="a", model=MODEL, dataset="scene", tiles_per_shard=2)))
    world.run_until(0.51)
    world.request(Watch(1, "a", 0))
    for number in range(100, 150):
        ask(world, number)
    assert world.run_until(60.0, all_told(world, range(100, 150)))
    assert all(isinstance(r, Answered) for n in range(100, 150) for r in replies(world, n))
    assert world.run_until(60.0, lambda: any(isinstance(r, Ended) for _, _, r in world.replies))
    assert len(asked(world)) == 50 + 24, "no lease ran out while inputs shared the way up"


def test_a_job_called_request_ends_like_any_other() -> None:
    world = calm_world()
    world.request(Submit(1, JobSpec(job="request", model=MODEL, dataset="scene")))
    world.run_until(0.1)
    world.request(Watch(1, "request", 0))
    assert world.run_until(60.0, lambda: any(isinstance(r, Ended) for _, _, r in world.replies))
    assert [r.ending.outcome for _, _, r in world.replies if isinstance(r, Ended)] == ["complete"]
