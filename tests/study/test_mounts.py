"""An SQLite file on a network file system is refused, whatever way leads to it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nasmod.errors import StorageError
from nasmod.study import Database
from nasmod.study.mounts import MOUNTS, NETWORK, NETWORK_FUSE, file_system, refuse_network

# of a real machine of a cluster, shortened
MOUNTINFO = r"""
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 28 0:26 / /tmp rw,nosuid shared:2 - tmpfs tmpfs rw
45 28 0:40 / /home rw,relatime shared:20 - nfs4 10.0.0.5:/export/home rw,vers=4.2
46 45 0:41 / /home/me/my\040disk rw,relatime shared:21 - ext4 /dev/sdb1 rw
47 28 0:42 / /scratch rw - lustre 10.0.0.6@o2ib:/scratch rw,flock
48 28 0:43 / /data rw,nosuid - fuse.sshfs me@server:/data rw
49 28 0:44 / /windows rw - fuseblk /dev/sda3 rw
50 28 0:45 / /shared rw - 9p share rw,trans=virtio
51 28 0:46 / /twice rw - ext4 /dev/sdc1 rw
52 51 0:47 / /twice rw master:1 propagate_from:2 - cifs //server/share rw
53 28 0:48 / /homework rw - xfs /dev/sdd1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/runs/a.db", "ext4"),
        ("/home/me/runs/a.db", "nfs4"),
        ("/home/me/my disk/a.db", "ext4"),
        ("/scratch/a.db", "lustre"),
        ("/data/../data/a.db", "fuse.sshfs"),
        ("/windows/a.db", "fuseblk"),
        ("/shared/a.db", "9p"),
        ("/twice/a.db", "cifs"),
        ("/homework/a.db", "xfs"),
    ],
)
def test_the_innermost_and_latest_mount_counts(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTINFO) == kind
    refused = kind in NETWORK or NETWORK_FUSE.fullmatch(kind) is not None
    assert refused == (kind in {"nfs4", "lustre", "fuse.sshfs", "cifs"})


def test_symbolic_links_are_followed_those_to_nothing_too(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to("/home/me/runs")
    assert file_system(tmp_path / "runs" / "deep" / "a.db", MOUNTINFO) == "nfs4"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert file_system(tmp_path / "loop" / "a.db", MOUNTINFO) == "tmpfs"


@pytest.mark.skipif(not MOUNTS.exists(), reason="only Linux tells what is mounted")
def test_what_is_mounted_here_is_found(tmp_path: Path) -> None:
    text = MOUNTS.read_text()
    assert file_system(Path("/proc/1/a.db"), text) == "proc"
    said = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    assert (file_system(tmp_path, text) == "tmpfs") == (said.strip() == "tmpfs")


@pytest.fixture
def network_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder where ``fuse.sshfs`` is mounted, whose server has gone away."""
    folder = tmp_path / "remote"
    folder.mkdir()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("there is no FUSE here")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.mount(b"server:/data", os.fsencode(folder), b"fuse.sshfs", 0, options)
    os.close(device)  # whoever touches the folder is told so, instead of waiting
    if failed:
        pytest.skip(f"nothing can be mounted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_real_mount_is_refused_with_the_reason(network_folder: Path, tmp_path: Path) -> None:
    """Before the file is touched: a server that is away would have us wait."""
    (tmp_path / "link").symlink_to(network_folder)
    for path in (network_folder / "a.db", tmp_path / "link" / "runs" / "a.db"):
        for opened in (Database.open, Database.create):
            with pytest.raises(StorageError, match=r"network file system \(fuse\.sshfs\).*PostgreSQL"):
                opened(str(path))
    refuse_network(tmp_path / "a.db")
