"""Does the reader of element files pass gpconf, the conformance kit for catalogue numbers above 99,999?

The kit's own runner grades the cases whose files it ships; its other cases need files that CelesTrak serves, which
`gpconf fetch` keeps in a folder of the user's and which `GPCONF_DATA` names here. The frozen values of those cases do
ship, so every record of them is written in each notation and read back as well.
"""

import csv
import json
import os
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from gpconf import locate
from gpconf.runner import Runner

from perigrid.scenario.elements import read_elements, read_records
from perigrid.scenario.model import Elements
from perigrid.scenario.record import WITHOUT_NUMBER, Refused, catalogue_number, epoch_of
from perigrid.scenario.tle import from_alpha_5, full_year

SHIPPED = {
    "alpha5-encoding-vectors": "pass",
    "alpha5-tle-derived": "pass",
    "kvn-syntax-variants": "pass",
    "corrupt-input": "pass",
    "tle-writer-alpha5": "skip",
}
"""Cases whose files the kit ships -> how they end; perigrid writes no TLE."""

FIELDS = {
    "mean_motion": "mean_motion_rev_day",
    "eccentricity": "eccentricity",
    "inclination": "inclination_deg",
    "ra_of_asc_node": "raan_deg",
    "arg_of_pericenter": "argument_of_perigee_deg",
    "mean_anomaly": "mean_anomaly_deg",
    "bstar": "bstar",
    "mean_motion_dot": "mean_motion_dot",
    "mean_motion_ddot": "mean_motion_ddot",
}
"""The kit's name of a value -> ours."""

CORPUS = Path(locate.corpus_root()[0])


class Adapter:
    """The reader as the kit's runner calls it."""

    def parse(self, raw: bytes, _: str) -> list[dict[str, object]]:
        """Every record, or why it is refused."""
        listed: list[dict[str, object]] = [{"_adapter": {"refusals": True}}]
        return listed + [_row(one) for one in read_records(raw.decode(), "the file")]

    def alpha5_decode(self, field: str) -> int:
        """The catalogue number of a TLE's field."""
        return from_alpha_5(field)

    def two_digit_year(self, two: str) -> int:
        """The year of a TLE's epoch."""
        return full_year(int(two))

    def parse_epoch(self, text: str) -> datetime:
        """A CCSDS time code."""
        return epoch_of(text)

    def parse_catalog_id(self, text: str) -> int:
        """NORAD_CAT_ID as text."""
        return catalogue_number(text)


def _row(one: Elements | Refused) -> dict[str, object]:
    if isinstance(one, Refused):
        return {"_refused": one.problem, "_field": one.number, "_input": one.number}
    values: dict[str, object] = {theirs: getattr(one, ours) for theirs, ours in FIELDS.items()}
    number = None if one.number == WITHOUT_NUMBER else one.number
    return values | {
        "norad_cat_id": number,
        "epoch": one.epoch,
        "object_name": one.name or None,
        "object_id": one.designator or None,
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_case_that_can_be_graded_passes(tmp_path: Path) -> None:
    # The kit leaves closing its files to the interpreter, hence the warnings that are ignored.
    data = os.environ.get("GPCONF_DATA", str(tmp_path))
    results = Runner(Adapter(), root=str(CORPUS), data=data).run()
    failed = [
        f"{result.case_id}: {item.check} {item.file}: {item.detail}"
        for result in results
        for item in result.items
        if item.status == "fail"
    ]
    assert failed == []
    assert len(results) == 18
    graded = {result.case_id: result.status for result in results if result.case_id in SHIPPED}
    assert graded == SHIPPED


@cache
def frozen() -> tuple[dict[str, Any], ...]:
    """The records that the kit's other cases expect, each once, as the kit states them."""
    found = {}
    for path in sorted(CORPUS.glob("fixtures/*/expected.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        if case["kind"] == "gp":
            for record in case["records"]:
                values = record["canonical"]
                found[values["norad_cat_id"], values["epoch"]] = values
    return tuple(found.values())


def test_the_kit_states_records_of_all_lengths_of_number() -> None:
    lengths = {len(str(values["norad_cat_id"])) for values in frozen()}
    assert lengths == {5, 6}
    assert len(frozen()) > 800


def keywords(values: dict[str, Any], number: int) -> dict[str, Any]:
    """A record's OMM keywords, with a number of its own, for the kit has objects at several epochs."""
    empty = {key.upper(): "" if value is None else value for key, value in values.items()}
    return empty | {"NORAD_CAT_ID": number}


def as_json(messages: list[dict[str, Any]]) -> str:
    """Numbers as JSON's numbers, as CelesTrak serves them."""
    numbers = {key.upper() for key in FIELDS}
    return json.dumps([{k: float(v) if k in numbers else v for k, v in message.items()} for message in messages])


def as_json_text(messages: list[dict[str, Any]]) -> str:
    """Numbers as text, and null for what is not there, as Space-Track serves them."""
    return json.dumps([{k: None if v == "" else str(v) for k, v in message.items()} for message in messages])


def as_csv(messages: list[dict[str, Any]]) -> str:
    """A header and a row for each."""
    file = StringIO()
    writer = csv.DictWriter(file, list(messages[0]))
    writer.writeheader()
    writer.writerows(messages)
    return file.getvalue()


def as_xml(messages: list[dict[str, Any]]) -> str:
    """An `ndm` of `omm` messages."""
    parts = []
    for message in messages:
        fields = "".join(f"<{key}>{str(value).replace('&', '&amp;')}</{key}>" for key, value in message.items())
        parts.append(f'<omm id="CCSDS_OMM_VERS" version="2.0"><body><segment>{fields}</segment></body></omm>')
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ndm>{"".join(parts)}</ndm>'


def as_kvn(messages: list[dict[str, Any]]) -> str:
    """A message from each CCSDS_OMM_VERS on."""
    lines = []
    for message in messages:
        lines += ["CCSDS_OMM_VERS = 2.0", *(f"{key} = {value}" for key, value in message.items()), ""]
    return "\r\n".join(lines)


@pytest.mark.parametrize("write", [as_json, as_json_text, as_csv, as_xml, as_kvn])
def test_every_record_that_the_kit_states_is_read_as_stated(write: Callable[[list[dict[str, Any]]], str]) -> None:
    first = 799_500_000
    messages = [keywords(values, first + at) for at, values in enumerate(frozen())]
    read = read_elements(write(messages), write.__name__)
    assert [one.number for one in read] == [first + at for at in range(len(messages))]
    for one, stated in zip(read, frozen(), strict=True):
        assert one.epoch.isoformat(timespec="microseconds") == f"{stated['epoch']}+00:00"
        assert (one.name, one.designator) == (stated["object_name"] or "", stated["object_id"] or "")
        # The shortest decimal of a float is the one that was written: no digit is lost.
        for theirs, ours in FIELDS.items():
            assert Decimal(repr(getattr(one, ours))) == Decimal(stated[theirs])
