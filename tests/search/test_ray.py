"""Workers as actors of a real Ray cluster of two nodes on this machine: exact budgets, kills, orders to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from nasmod.errors import StudyError
from nasmod.study import processes, read, records, stored
from tests.search.groups import slower
from tests.search.test_run import check_invariants, wait_until

SEARCH = """
import sys
from nasmod.search.run import run
from nasmod.study import Database, open_study
if __name__ == "__main__":
    study = open_study(Database.open(sys.argv[1]), "small")
    try:
        print(run(study, workers=2, lease_seconds=float(sys.argv[3]), engine="ray", address=sys.argv[2]))
    except KeyboardInterrupt:
        print("interrupted")
"""
LONG_EPOCHS = """
name = "small"
space = "dense"
trials = 2
references = false
[data]
name = "npz"
path = "data.npz"
[training]
epochs = 2
batch_size = 2
[objective]
flops_budget = 40000
[strategy]
name = "random"
[stopping]
name = "none"
"""
pytestmark = pytest.mark.xdist_group("ray")  # two clusters at once would want the same ports
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed here; CI installs it")


def test_without_ray_the_command_line_says_how_it_is_installed(tmp_path):
    script = "import sys\nsys.modules['ray'] = None\nsys.argv[1:] = ['start', 'digits', '--engine', 'ray']\n"
    script += "from nasmod.cli import main\nmain()"
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "nasmod: --engine ray needs Ray: pip install 'nasmod[ray]'\n")
    assert not list(tmp_path.iterdir())  # nothing was written


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nowhere.invalid", "a:b"])
def test_a_cluster_that_does_not_answer_is_named_at_once(address, make_study, start):
    from nasmod.search.run import run

    stored_study, context = start(make_study())
    with pytest.raises(StudyError, match="No Ray cluster answers at"):
        run(stored_study, context=context, engine="ray", address=address)


@needs_ray
@pytest.mark.slow
def test_a_file_of_this_machine_is_refused_for_workers_on_others():
    from nasmod.search.ray import check_reach

    check_reach("/a.db", ["here", "here"], "here")
    with pytest.raises(
        StudyError, match=r"'/a.db' of this machine, which workers on b, c cannot use; name a PostgreSQL"
    ):
        check_reach("/a.db", ["c", "here", "b"], "here")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two nodes with a core each. Ray warns of its own deprecated parts when it starts."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed here; CI installs it")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    try:
        yield made.address
    finally:
        made.shutdown()


@pytest.fixture
def search(cluster, tmp_path):
    """Search the study in ``small.db`` from a process of its own; it is ended at the end."""
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    begun: list[subprocess.Popen[str]] = []

    def begin(lease_seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(tmp_path / "small.db"), cluster, str(lease_seconds)]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def workers_at_work(stored_study) -> list[processes.Seen]:
    """Registered workers that train something."""
    every = processes.at_work(stored_study.database, stored_study.id)
    return [seen for seen in every if seen.process.role == "worker" and seen.candidate is not None]


@pytest.fixture
def connected(cluster) -> Iterator[None]:
    """This process is connected to the cluster."""
    import ray

    ray.init(address=cluster, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_cluster_that_ends_without_its_database_kills_every_actor_nevertheless(
    make_study, start, connected, tmp_path
):
    import ray
    from ray.exceptions import ActorDiedError

    from nasmod.search.ray import start_workers

    stored_study, _ = start(make_study())
    place = start_workers(stored_study, 2, 0.5, tmp_path / "logs")
    wait_until(lambda: len(processes.at_work(stored_study.database, stored_study.id)) == 2, seconds=300)
    actors = [worker.actor for worker in place.workers]
    assert len(actors) == 2
    stored_study.database.close()
    for path in tmp_path.glob("small.db*"):
        path.rename(tmp_path / f"moved{path.name}")
    place.end()
    for actor in actors:
        with pytest.raises(ActorDiedError):
            ray.get(actor.end.remote(), timeout=60)


@pytest.mark.slow
def test_an_actor_killed_is_started_again_and_its_candidate_trained_by_another(make_study, start, search):
    stored_study, _ = start(slower(make_study(trials=3, epochs=20)))
    process = search(lease_seconds=900.0)  # whoever goes on has not waited for it
    wait_until(lambda: any(seen.epoch > 2 for seen in workers_at_work(stored_study)), seconds=300)
    victim = next(seen for seen in workers_at_work(stored_study) if seen.epoch > 2)
    assert victim.process.pid != process.pid
    assert victim.process.device == "cpu"
    os.kill(victim.process.pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=400)
    assert "the budget is reached: 3 candidates were trained\n" in out  # Ray says its own of the death
    check_invariants(stored_study, 3)
    again = next(record for record in records.read_records(stored_study) if record.key == victim.key)
    assert (again.state, again.attempts) == ("finished", 2)
    assert again.worker != victim.process.name
    assert not processes.at_work(stored_study.database, stored_study.id)
    assert victim.process.log is not None
    assert "claimed" in Path(victim.process.log).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "stop --now"])
def test_asked_to_end_in_the_middle_of_a_long_epoch_its_candidate_is_handed_back(start, search, tmp_path, how):
    generator = np.random.default_rng(0)
    examples = 300_000  # two by two: an epoch takes far longer than the workers are waited for
    np.savez(
        tmp_path / "data.npz",
        x=generator.standard_normal((examples, 8)).astype(np.float32),
        y=generator.integers(0, 3, examples),
    )
    (tmp_path / "small.toml").write_text(LONG_EPOCHS)
    stored_study, _ = start(read(tmp_path / "small.toml"))
    process = search(lease_seconds=10.0)
    wait_until(lambda: len(workers_at_work(stored_study)) == 2, seconds=300)
    if how.startswith("stop"):
        stored.stop(stored_study, now=True)
    else:
        process.send_signal(signal.Signals[how])
    out, _ = process.communicate(timeout=120)
    assert out.splitlines()[-1] == (stored.STOPPED if how.startswith("stop") else "interrupted")
    found = records.read_records(stored_study)
    assert [(record.state, record.attempts) for record in found[:2]] == [("queued", 0)] * 2
    assert not any(record.state == "running" for record in found)
    assert not processes.at_work(stored_study.database, stored_study.id)
