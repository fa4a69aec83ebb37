"""Plans, simulates and executes LLM training that survives GPU failures."""

from __future__ import annotations

from runflat._core import InfeasibleError, ParseError, __version__

__all__ = ["InfeasibleError", "ParseError", "__version__"]
