"""The published results of nonuniform tensor parallelism (arXiv 2504.06095), computed again."""

from __future__ import annotations

from runflat.paper.reproduction import Reproduction, reproduce
from runflat.paper.rows import Row, Verdict

__all__ = ["Reproduction", "Row", "Verdict", "reproduce"]
