"""Where files lie that are kept outside the database: a shared folder or S3, through Optuna's artifact stores.

A store holds bytes under ids and knows nothing of studies. Whatever goes wrong in one is an `ArtifactError` of one
line, or a `StorageFullError` where the space was the reason.
"""

from __future__ import annotations

import errno
import io
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasmod.errors import ArtifactError, StorageFullError

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore

S3 = "s3://"
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
ID = re.compile(r"[0-9a-f]{32}")
# how long a vanished server holds a worker up; more patience is of no use, since the file is at hand only once
S3_SETTINGS = {"connect_timeout": 5, "read_timeout": 60, "retries": {"mode": "standard", "total_max_attempts": 3}}


class Store:
    """Bytes under ids at one place. Ids are those of `new_id`: no other can name a file in it, or out of it."""

    def __init__(self, place: str, store: ArtifactStore, prefix: str = "") -> None:
        self.place = place
        self._store, self._prefix = store, prefix

    def put(self, artifact: str, content: bytes) -> None:
        """Write a file; what there is of it is removed where that fails."""
        with self._explained("written to"):
            try:
                self._store.write(self._name(artifact), io.BytesIO(content))
                if not self.place.startswith(S3):  # the database will say that it is there, after a power failure too
                    with (Path(self.place) / artifact).open("rb") as file:
                        os.fsync(file.fileno())
            except Exception:  # each store has errors of its own; `_explained` puts them in words
                with suppress(Exception):  # the first error counts; what is left of the file, the next sweep removes
                    self._store.remove(self._name(artifact))
                raise

    def get(self, artifact: str) -> bytes:
        """The content of a file. `ArtifactError` when it is not there any more, too."""
        with self._explained("read from"), self._store.open_reader(self._name(artifact)) as reader:
            return reader.read()

    def remove(self, artifact: str) -> None:
        """Forget a file, if it is there. What cannot be one of ours is left alone."""
        if ID.fullmatch(artifact) is None:
            return
        from optuna.artifacts.exceptions import ArtifactNotFound

        with self._explained("removed from"), suppress(ArtifactNotFound):
            self._store.remove(self._name(artifact))

    def _name(self, artifact: str) -> str:
        if ID.fullmatch(artifact) is None:
            raise ArtifactError(f"A file's name in '{self.place}' is 32 hexadecimal digits, not {artifact[:100]!r}.")
        return f"{self._prefix}{artifact}"

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """Turns what a file system or a server says into one line, nothing of anybody's keys in it."""
        from optuna.artifacts.exceptions import ArtifactNotFound

        try:
            yield
        except ArtifactError:
            raise
        except ArtifactNotFound as error:
            raise ArtifactError(f"A file of the study is not in '{self.place}' any more.") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFullError(f"No space is left in the artifacts folder '{self.place}'.") from error
            said = error.strerror or str(error)
            raise ArtifactError(f"The artifacts folder '{self.place}' cannot be {done}: {said}.") from error
        except Exception as error:  # botocore has dozens without a common parent, and is not there to be named
            said = " ".join(str(error).split()).rstrip(".")
            raise ArtifactError(f"The artifacts in '{self.place}' cannot be {done}: {said}.") from error


def new_id() -> str:
    """A name that no file ever had, safe in every store."""
    return uuid.uuid4().hex


def absolute(place: str, here: Path | None = None) -> str:
    """A place as a study remembers it: ``s3://bucket/prefix`` without a slash at the end, or an absolute folder.

    A relative folder is beside `here`, else in the current directory. `ArtifactError` when it is neither.

    >>> absolute("s3://my-lab/nasmod/")
    's3://my-lab/nasmod'
    """
    if not place.startswith(S3):
        if not place.strip() or "://" in place or "\0" in place:
            raise ArtifactError("Artifacts are kept in a folder or in s3://bucket/prefix, and it is neither.")
        return os.path.abspath(os.path.join(here or "", os.path.expanduser(place)))
    bucket, _, prefix = place.removeprefix(S3).rstrip("/").partition("/")
    dots = {".", ".."} & set(prefix.split("/"))
    if not BUCKET.fullmatch(bucket) or (prefix and not PREFIX.fullmatch(prefix)) or dots:
        raise ArtifactError(  # what was given may hold a key, and is not repeated
            "Artifacts in S3 are named s3://bucket/prefix, with a bucket of 3 to 63 of a-z 0-9 . - and a prefix of "
            "A-Z a-z 0-9 . _ - /; keys and an endpoint come from the environment (AWS_…)."
        )
    return place.rstrip("/")


@cache
def store_at(place: str) -> Store:
    """The store of a place that `absolute` gave; nothing is written. `ArtifactError` when it cannot be used at all."""
    if place != absolute(place):
        raise ArtifactError(f"Artifacts are kept in an absolute folder or in s3://bucket/prefix, not in '{place}'.")
    if not place.startswith(S3):
        from optuna.artifacts import FileSystemArtifactStore

        return Store(place, FileSystemArtifactStore(place))
    bucket, _, prefix = place.removeprefix(S3).partition("/")
    return Store(place, _bucket(bucket), f"{prefix}/" if prefix else "")


def check(place: str, *, new: bool = False) -> None:
    """Write, read and remove a file, or say in an `ArtifactError` why not; a `new` folder is made, its parent is not.

    A parent that is missing is a share that is not mounted, more often than not.
    """
    folder = None if place.startswith(S3) else Path(place)
    try:
        if folder is not None and new:
            folder.mkdir(exist_ok=True)
        if folder is not None and not folder.is_dir():
            raise ArtifactError(f"The artifacts folder '{place}' is not there; is it mounted on this machine?")
    except FileNotFoundError as error:
        missing = f"The folder '{Path(place).parent}' does not exist"
        raise ArtifactError(f"{missing}: no artifacts can be kept in '{place}'.") from error
    except OSError as error:  # a file of that name among them
        raise ArtifactError(f"No artifacts can be kept in '{place}': {error.strerror}.") from error
    store, probe = store_at(place), new_id()
    store.put(probe, b"nasmod")
    try:
        if store.get(probe) != b"nasmod":
            raise ArtifactError(f"The artifacts in '{place}' are not what was written.")
    finally:
        store.remove(probe)


def is_empty(place: str) -> bool:
    """Whether a folder holds nothing at all, like the mount point of a share that is not mounted."""
    if place.startswith(S3):
        return False
    with os.scandir(place) as found:
        return next(found, None) is None


def _bucket(name: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise ArtifactError("Artifacts in S3 need boto3: pip install 'nasmod[s3]'.") from error
    from optuna.artifacts import Boto3ArtifactStore

    try:
        return Boto3ArtifactStore(name, boto3.client("s3", config=Config(**S3_SETTINGS)), avoid_buf_copy=True)
    except (BotoCoreError, ValueError) as error:  # a region, a profile or an endpoint that is none
        raise ArtifactError(f"S3 cannot be used: {' '.join(str(error).split())}") from error
