"""What is not collected: the room of an extra that is not installed here."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("ray") else ["nasmod/search/ray.py"]
