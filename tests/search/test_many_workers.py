"""Many workers on one PostgreSQL: each has one connection, and each candidate is trained once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nasmod.study import Database, open_study, records
from nasmod.study.stored import status
from tests.postgresql import binaries, server

SEARCH = """
import json, sys
import sqlalchemy
from tests.simulated import simulate, sleeping_study
url, workers, trials = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
look = sqlalchemy.create_engine(url, connect_args={"application_name": "looking"})
seen = []
def watch():
    with look.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nasmod'"
        seen.append(connection.exec_driver_sql(query).scalar())
    look.dispose()
simulate(url, sleeping_study(trials), workers, None, 1.0, watch)
print(json.dumps(seen))
"""


@pytest.mark.slow
def test_sixty_four_workers_have_one_connection_each_and_train_the_budget_exactly():
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here; CI installs it")
    workers, trials = 64, 150
    with server() as url:
        # a process of its own: it forks, which one with threads may not
        out = subprocess.run(
            [sys.executable, "-c", SEARCH, url, str(workers), str(trials)], check=True, capture_output=True, text=True
        ).stdout
        seen = json.loads(out)
        assert max(seen) <= workers + 1  # the supervisor has one too
        assert max(seen) > workers / 2
        database = Database.open(url)
        study = open_study(database, "sleeping")
        found = status(study)
        assert (found.state, found.trained, found.running, found.failed) == ("ended", trials, 0, 0)
        trained = [record for record in records.read_records(study) if record.state == "finished"]
        assert sorted(record.number for record in trained) == list(range(trials))
        assert all(record.attempts == 1 and len(record.curve) == 10 for record in trained)
        database.close()
