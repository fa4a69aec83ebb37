"""Types of the C++ module; a test keeps the names here equal to dir(_core)."""

__version__: str

class ParseError(ValueError):
    """Bad input by a person; names the file, the key path and what was expected."""

class InfeasibleError(RuntimeError):
    """No plan can satisfy the request; says what a person can do about it."""
