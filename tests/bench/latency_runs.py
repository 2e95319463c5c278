"""What does a latency run look like that nobody measured? A seeded one, with every arm and every kind of trouble."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from perigrid.bench.latency.environment import Environment
from perigrid.bench.latency.rate_search import RateSearch, Trial
from perigrid.bench.latency.rows import Arm, Hop, Mode, Origin, Row, Series, Stratum, World
from perigrid.bench.latency.schedule import Planned, server_times, strata_of
from perigrid.bench.latency.summary import Assumption, LatencyRun, RatePiece, RunFacts, Span

PERIOD_S = 5712.0
LIGHT_S = 0.0119
ENVIRONMENT = Environment(
    processor="Example CPU",
    cores=2,
    memory_bytes=24 << 30,
    system="Linux 6.18",
    python="CPython 3.11.7",
    governor="",
    hypervisor=True,
    load=(0.1, 0.2, 0.3),
    versions={"perigrid": "0.1.0", "onnxruntime": "1.32.0"},
    threads={"intra_op": "1", "inter_op": "1"},
    allocator={"MALLOC_TOP_PAD_": "67108864"},
)


@dataclass(frozen=True)
class Wish:
    """What the run shall be like. `slower` multiplies the inference; `drift` moves every repeat "b"."""

    seed: int = 7
    rate_per_s: float = 5.0
    length_s: float = 4.0
    slower: float = 1.0
    drift: float = 0.002
    repeats: tuple[str, ...] = ("a", "b")
    invalid: tuple[str, ...] = ()
    failing: float = 0.01
    arms: tuple[Arm, ...] = tuple(Arm)
    origins: tuple[Origin, ...] = (Origin.BOARD, Origin.GROUND)
    world: World = World.LIVE
    also_virtual: tuple[Arm, ...] = ()
    digest: str = "d" * 64
    slo_s: float | None = 1.0


def made_run(wish: Wish) -> LatencyRun:
    """The run, the same for the same wish."""
    strata = strata_of(100.0, PERIOD_S, wish.length_s, wish.seed, warm_up_s=1.0)
    series = tuple(
        _series(wish, arm, origin, repeat, strata)
        for repeat in wish.repeats
        for origin in wish.origins
        for arm in wish.arms
        if not (arm == Arm.BARE and origin != wish.origins[0])
    )
    series += tuple(_virtual(one) for one in series if one.arm in wish.also_virtual and one.world != World.BARE)
    return LatencyRun(
        facts=_facts(wish),
        environment=ENVIRONMENT,
        series=series,
        spans=_spans(),
        rate_history=(RatePiece(100.0, 0.2), RatePiece(900.0, 0.45), RatePiece(2500.0, 0.4), RatePiece(2600.0, 0.8)),
        searches={"server ground": _search()},
    )


def _virtual(series: Series) -> Series:
    """The same in virtual time, a little faster."""
    rows = tuple(
        msgspec.structs.replace(
            row,
            world=World.SIM,
            latency_s=row.latency_s * 0.98,
            stages={name: 0.98 * seconds for name, seconds in row.stages.items()},
        )
        for row in series.rows
    )
    return msgspec.structs.replace(series, name=series.name + " sim", world=World.SIM, rows=rows)


def _facts(wish: Wish) -> RunFacts:
    return RunFacts(
        scenario="three-body-12",
        title="Twelve satellites in one plane",
        digest=wish.digest,
        phasing="97.5:12/1/0",
        model="cloudmask",
        seed=wish.seed,
        started_utc="2026-03-20T12:00:00Z",
        orbit_period_s=PERIOD_S,
        command="perigrid bench latency --scenario server --constellation three-body-12 --model cloudmask",
        device="example board, assumed",
        ground_device="this machine",
        rate_setting="auto",
        assumptions=(
            Assumption(
                key="device.service_s",
                value="0.31 s a tile",
                kind="assumed",
                source="no value found",
                stages=("inference",),
            ),
            Assumption(
                key="ground_link.rate_bps",
                value="160 Mbit/s",
                kind="sourced",
                source="SSC17-VII-02 at https://digitalcommons.usu.edu/smallsat/2017/all2017/106/",
                stages=("downlink", "uplink"),
            ),
        ),
    )


def _spans() -> tuple[Span, ...]:
    spans = [Span(kind="eclipse", name="sat-01", start_s=1900.0, end_s=4050.0)]
    for station, start_s in (("Svalbard", 300.0), ("Inuvik", 1450.0), ("Awarua", 3300.0), ("Svalbard", 5000.0)):
        spans.append(Span(kind="contact", name=station, start_s=start_s, end_s=start_s + 480.0))
    spans.append(Span(kind="fault", name="cut sat-01 – sat-02", start_s=2000.0, end_s=2000.0))
    spans.append(Span(kind="fault", name="heal sat-01 – sat-02", start_s=2400.0, end_s=2400.0))
    return tuple(spans)


def _search() -> RateSearch:
    trials = tuple(
        Trial(
            rate_per_s=rate,
            requests=1000,
            misses=misses,
            kept=misses <= 10,
            valid=True,
            share_low=0.98,
            share_high=0.995,
            sure=False,
        )
        for rate, misses in ((2.0, 0), (4.0, 3), (8.0, 90), (5.6, 8), (5.6, 9))
    )
    return RateSearch(
        slo_s=1.0, share=0.99, rate_per_s=5.6, confirmed=True, ending="found and confirmed", trials=trials
    )


def _series(wish: Wish, arm: Arm, origin: Origin, repeat: str, strata: tuple[Stratum, ...]) -> Series:
    name = f"server {origin.value} {arm.value}" if arm != Arm.BARE else "bare"
    seeds = [wish.seed, list(Arm).index(arm), list(Origin).index(origin), ord(repeat[0])]
    random = np.random.default_rng(seeds)
    planned = server_times(strata, wish.rate_per_s, wish.seed, warm_up_s=1.0)
    world = World.BARE if arm == Arm.BARE else wish.world
    factor = 1 + (wish.drift if repeat == "b" else 0.0)
    rows = tuple(_row(wish, one, arm, origin, world, random, factor) for one in planned)
    invalid = name in wish.invalid
    return Series(
        name=name,
        world=world,
        arm=arm,
        origin=origin,
        mode=Mode.SERVER,
        repeat=repeat,
        rows=rows,
        strata=strata,
        valid=not invalid,
        share_late=0.02 if invalid else 0.0001,
        slo_s=wish.slo_s,
        offered_per_s=wish.rate_per_s,
    )


def _row(
    wish: Wish, one: Planned, arm: Arm, origin: Origin, world: World, random: np.random.Generator, factor: float
) -> Row:
    stages = {name: seconds * factor for name, seconds in _stages(wish, one, arm, origin, random).items()}
    ok = bool(random.random() >= wish.failing) or arm == Arm.BARE
    late_s = float(random.exponential(5e-5))
    latency_s = sum(stages.values())
    ground_bytes = 2048 if arm in (Arm.IN_ORBIT, Arm.SHARDED) else 600_000 if arm == Arm.CASCADE else 3_145_728
    hop = Hop("sat-01", "sat-02", "laser", 0.0, 0.0, 1e-4, LIGHT_S, 0.0)
    return Row(
        number=one.number,
        world=world,
        arm=arm,
        origin=origin,
        mode=Mode.SERVER,
        stratum=one.stratum,
        intended_s=one.intended_s,
        sent_s=one.intended_s + late_s,
        ended_s=one.intended_s + latency_s,
        latency_s=latency_s,
        outcome="ok" if ok else "deadline",
        cause="" if ok else "queued past its deadline",
        warm_up=one.warm_up,
        satellite="" if arm == Arm.BARE else "sat-02",
        trace=f"{one.number:032x}",
        bytes_up=3_145_728 if origin == Origin.GROUND and arm != Arm.BARE else 0,
        bytes_down=0 if arm == Arm.BARE else ground_bytes,
        stages=stages,
        down=() if arm in (Arm.BARE, Arm.BENT_PIPE) else (hop,),
        desk_wait_s=float(random.exponential(0.02)),
        cpu_s=0.075,
        rate=0.4,
    )


def _stages(wish: Wish, one: Planned, arm: Arm, origin: Origin, random: np.random.Generator) -> dict[str, float]:
    inference_s = 0.31 * wish.slower
    if arm == Arm.BARE:
        return {"inference": 0.075 * float(random.lognormal(0, 0.01))}
    phase = 2 * np.pi * one.stratum / 20
    light_s = LIGHT_S * (1 + (one.stratum % 6))
    jitter = float(random.lognormal(0, 0.15))
    own_wait_s = max(0.0, 1800 * (0.5 + 0.5 * float(np.sin(phase))) - 350) * jitter
    up = {"gateway": 4e-4, "ground_queue": 2e-4, "uplink": 0.16} if origin == Origin.GROUND else {}
    if arm == Arm.BENT_PIPE:
        return {**up, "contact_wait": own_wait_s, "downlink": 0.16, "ground_inference": 0.08 * jitter, "settle": 3e-4}
    if arm == Arm.BENT_PIPE_LASERS:
        lasers_s = light_s + 0.025 * (1 + one.stratum % 6)
        return {**up, "lasers_down": lasers_s, "downlink": 0.16, "ground_inference": 0.08 * jitter, "settle": 3e-4}
    queue_s = float(random.exponential(0.08 if arm == Arm.IN_ORBIT else 0.02))
    work_s = {Arm.IN_ORBIT: inference_s, Arm.SHARDED: inference_s / 4, Arm.CASCADE: 0.35 * inference_s}[arm]
    down_s = 0.031 if arm == Arm.CASCADE else 0.0021
    own = {"satellite_queue": queue_s, "inference": work_s, "lasers_down": light_s, "downlink": down_s, "settle": 3e-4}
    return {**up, **({"lasers_up": light_s} if origin == Origin.GROUND else {}), **own}
