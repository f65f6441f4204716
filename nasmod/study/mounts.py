"""Which file system a file lies on: SQLite needs locks and a shared memory that network file systems do not give.

Two machines that open one file in write-ahead mode each see their own shared memory, and damage it.
"""

from __future__ import annotations

import re
from pathlib import Path

from nasmod.errors import StorageError

MOUNTS = Path("/proc/self/mountinfo")  # of Linux; where it is missing nothing is refused
NETWORK = {
    "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "dfs", "gfs", "gfs2", "glusterfs", "gpfs", "juicefs",
    "lustre", "mmfs", "moosefs", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3",
    "smbfs", "wekafs",
}  # fmt: skip
# FUSE carries local file systems too (ntfs-3g, encfs …): those of the network by their names
NETWORK_FUSE = re.compile(
    r"fuse\.(sshfs|s3fs|s3ql|gcsfuse|blobfuse2?|goofys|rclone|davfs2?|curlftpfs|ceph(-fuse)?|glusterfs|lustre|mfs|moosefs"
    r"|juicefs|seaweedfs|smbnetfs|afs|nfs|beegfs|gpfs|hdfs|alluxio\S*|mount-s3|cunofs|wekafs|quobyte\S*)"
)


def file_system(path: Path, mounts: str) -> str | None:
    """The type of the file system that a path lies on, or would lie on; None where no mount is known.

    `mounts` is the text of Linux's mountinfo: of two mounts in one place the later one hides the other.

    >>> root, home = "1 0 8:1 / / rw - ext4 /dev/a rw", r"2 1 0:5 / /my\\040home rw shared:1 - nfs4 server:/home rw"
    >>> file_system(Path("/my home/runs/a.db"), f"{root}\\n{home}")
    'nfs4'
    """
    place = _resolved(path)
    longest, found = -1, None
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda escaped: chr(int(escaped[1], 8)), fields[4]))
        if place.is_relative_to(mounted) and len(mounted.parts) >= longest:
            longest, found = len(mounted.parts), after.split(" ")[0]
    return found


def refuse_network(path: Path) -> None:
    """Raise `StorageError` for an SQLite file on a network file system."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    kind = file_system(path, mounts)
    if kind is not None and (kind in NETWORK or NETWORK_FUSE.fullmatch(kind)):
        raise StorageError(
            f"'{path}' lies on a network file system ({kind}), where SQLite loses data: its locks do not hold between "
            "machines. Keep it on a local disk, or use PostgreSQL (--storage postgresql+psycopg://…)."
        )


def _resolved(path: Path) -> Path:
    """Symbolic links followed, those to what is not there yet too; a loop of them is left as it is."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()
