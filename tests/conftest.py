"""How tests run: property tests without deadlines, because wall times on shared cores say nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("nasmod", deadline=None, max_examples=60)
settings.load_profile("nasmod")
