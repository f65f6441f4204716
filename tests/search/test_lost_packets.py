"""A machine whose network is cut: nothing is closed, nothing is refused, packets are just lost."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.postgresql import Cluster, binaries, cluster
from tests.search.groups import Group, at_work, check_sound, filed, groups_of, holder, patient, rows, wait_until

HERE, THERE, NETWORK = "10.213.7.1", "10.213.7.2", "10.213.7.0/30"


@dataclass
class Wire:
    """The network between this machine and another, which is a network namespace."""

    name: str

    @property
    def inside(self) -> list[str]:
        """What a command that runs on the other machine begins with."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Lose every packet from now on."""
        ip("link", "set", self.name, "down")

    def mend(self) -> None:
        """Lose none."""
        ip("link", "set", self.name, "up")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def wire() -> Iterator[Wire]:
    name = f"nm{uuid.uuid4().hex[:8]}"
    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not make a network")
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "there", "netns", name)
        ip("address", "add", f"{HERE}/30", "dev", name)
        ip("link", "set", name, "up")
        for device in ("lo", "there"):
            ip("-n", name, "link", "set", device, "up")
        ip("-n", name, "address", "add", f"{THERE}/30", "dev", "there")
        yield Wire(name)
    finally:
        ip("netns", "delete", name)


@pytest.fixture
def reached_from_there(wire: Wire) -> Iterator[Cluster]:
    """A server that both machines reach."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here; CI installs it")
    with cluster() as made:
        made.stop("fast")
        made.listen_on(HERE, NETWORK)
        made.start()
        yield made


@pytest.mark.slow
def test_what_a_machine_held_whose_network_is_cut_goes_on_elsewhere_and_stays_there(
    make_study, wire: Wire, reached_from_there: Cluster, tmp_path: Path
):
    """It held the controller's lease as well; back on the network it trains what is left, and nothing twice."""
    study = patient(make_study(trials=4, epochs=80))
    there = Group(tmp_path / "there", reached_from_there.url_on(HERE), inside=wire.inside)
    here = Group(tmp_path / "here", reached_from_there.url)
    with filed(study, reached_from_there.url) as (stored, context), groups_of(there, here):
        there.start()
        wait_until(lambda: names(stored, there))
        here.start()
        wait_until(lambda: names(stored, here))

        def held() -> list:
            return [row for row in rows(stored) if row.state == "running" and row.worker in names(stored, there)]

        wait_until(lambda: any(0 < row.checkpoint < 40 for row in held()))
        (before,) = held()
        assert there.has(holder(stored) or 0)
        wire.cut()
        wait_until(lambda: next(row for row in rows(stored) if row.id == before.id).token > before.token + 1)
        wire.mend()
        assert here.wait() == 0, here.said()
        assert there.wait() == 0, there.said()
        found = check_sound(stored, context)
        taken = next(record for record in found if record.id == before.id)
        assert (taken.attempts, taken.state) == (2, "finished")
        assert taken.worker != before.worker
        assert [record.attempts for record in found].count(1) == 3
        assert "Traceback" not in there.said() + here.said()


def names(stored, group: Group) -> set[str]:
    """The workers of a group."""
    return {seen.process.name for seen in at_work(stored, group)}
