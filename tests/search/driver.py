"""`nasmod` as the command line runs it, with another lease: ``python driver.py LEASE CHECKPOINT resume NAME …``.

Nobody chooses the lease on the command line, and the tests cannot wait for the real one. Both are seconds.
"""

from __future__ import annotations

import sys

from nasmod.cli import main
from nasmod.search.run import run

if __name__ == "__main__":
    lease, checkpoint, *arguments = sys.argv[1:]
    assert run.__kwdefaults__ is not None
    run.__kwdefaults__.update(lease_seconds=float(lease), checkpoint_seconds=float(checkpoint))
    sys.argv = ["nasmod", *arguments]
    main()
