"""Do the files for containers say what perigrid does? No engine is at hand here, so what can be is read and tried."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Context

from perigrid.app.cli import commands
from perigrid.app.scenarios import choose
from tests.packaging.conftest import ROOT, build

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


def instructions() -> list[list[str]]:
    """The Dockerfile's instructions as words, continued lines joined."""
    text = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    return [line.split() for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def service() -> dict[str, Any]:
    """The one service of the compose file."""
    table = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    (found,) = table["services"].values()
    return found


def copied() -> list[str]:
    """What the first stage takes from the checkout."""
    lines = [words for words in instructions() if words[0] == "COPY" and not words[1].startswith("--from")]
    return [source for words in lines for source in words[1:-1]]


def test_what_the_image_copies_builds_the_same_wheel(tmp_path: Path, wheel: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            shutil.copy(ROOT / name, source / name)
    (made,) = build(tmp_path / "wheels", "--wheel", source=source).glob("*.whl")
    with zipfile.ZipFile(made) as one, zipfile.ZipFile(wheel) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}


def test_the_builder_is_sent_what_the_image_copies() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


def test_the_image_runs_the_demo_as_a_user_without_rights() -> None:
    words = instructions()
    assert [line[1] for line in words if line[0] == "USER"] == ["perigrid"]
    after = [line[0] for line in words[[line[0] for line in words].index("USER") :]]
    assert "RUN" not in after
    assert ["ENTRYPOINT", '["perigrid"]'] in words
    assert words[-1] == ["CMD", '["demo"]']
    assert not [line for line in words if line[0] in ("ADD", "EXPOSE")]
    assert all(re.fullmatch(r"\S+:\d+\.\d+-\S+", line[1]) for line in words if line[0] == "FROM")


def test_the_service_runs_a_command_that_there_is() -> None:
    name, *arguments = [VARIABLE.sub(r"\1", word) for word in service()["command"]]
    context = Context(commands)
    command = commands.get_command(context, name)
    assert command is not None
    values = command.make_context(name, list(arguments), parent=context, resilient_parsing=True).params
    assert values["gateway_port"] == 8001
    assert choose(values["scenario"], {}, print).scenario.name == "three-body-12"


def test_the_service_asks_for_no_rights_and_keeps_its_runs() -> None:
    found = service()
    assert found["cap_drop"] == ["ALL"]
    assert found["network_mode"] == "host"
    assert "ports" not in found
    volume = found["volumes"][0].split(":")[1]
    assert ["VOLUME", volume] in instructions()
    assert ["WORKDIR", volume] in instructions()
    for place in found["volumes"][1:]:
        assert (DEPLOY / place.split(":")[0]).is_dir()


@pytest.mark.parametrize("path", sorted((DEPLOY / "scenarios").glob("*.toml")), ids=lambda path: path.stem)
def test_an_example_says_what_it_is_for(path: Path) -> None:
    assert path.read_text().startswith("# ")
    choose(str(path), {}, print)


def test_two_examples_break_something() -> None:
    scenarios = [choose(str(path), {}, print).scenario for path in (DEPLOY / "scenarios").glob("*.toml")]
    assert sum(bool(scenario.faults) for scenario in scenarios) >= 2
