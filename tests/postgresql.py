"""A real PostgreSQL for tests: a cluster of its own on a free port, started and stopped by the fixture."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binaries() -> Path | None:
    """Where the server's programs are, None where PostgreSQL is not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_ctl"))
    path = found[-1] if found else shutil.which("pg_ctl")
    return Path(path).resolve().parent if path else None


class Cluster:
    """A cluster that can be stopped and started again. PostgreSQL refuses root: then the user ``postgres`` runs it.

    With a `password`, its user ``nasmod`` must give it (SCRAM); without one nobody is asked.
    """

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self.folder, self.password = folder, password
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user is not None:
            shutil.chown(folder, self.user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        how = ["-A", "trust"]
        if password is not None:
            file = folder / "password"
            file.write_text(password)
            how = ["-A", "scram-sha-256", f"--pwfile={file}"]
        self._run("initdb", "-D", f"{folder}/data", *how, "-U", "nasmod", "--no-sync")
        self.addresses = ["127.0.0.1"]

    @property
    def url(self) -> str:
        """The URL of its database ``postgres``, with the password where there is one."""
        login = "nasmod" if self.password is None else f"nasmod:{self.password}"
        return f"postgresql+psycopg://{login}@127.0.0.1:{self.port}/postgres"

    def listen_on(self, address: str, network: str) -> None:
        """From the next start on, answer the machines of a network, too."""
        self.addresses.append(address)
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network} trust\n")

    def url_on(self, address: str) -> str:
        """The URL as a machine of that network knows it."""
        return self.url.replace("127.0.0.1", address)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses={','.join(self.addresses)} -c fsync=off"
        data, log = f"{self.folder}/data", f"{self.folder}/log"
        self._run("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``fast`` ends every connection, ``immediate`` is a crash."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        programs = binaries()
        assert programs is not None
        subprocess.run(
            [programs / program, *arguments], check=True, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL
        )


@contextmanager
def cluster(password: str | None = None) -> Iterator[Cluster]:
    """A started cluster that is stopped at the end."""
    with tempfile.TemporaryDirectory() as folder:
        made = Cluster(Path(folder), password)
        made.start()
        try:
            yield made
        finally:
            made.stop()


@contextmanager
def server() -> Iterator[str]:
    """The URL of a fresh database of a fresh cluster."""
    with cluster() as made:
        yield made.url
