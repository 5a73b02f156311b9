"""Packages that only benchmarks need."""

from importlib.util import find_spec


def need(*modules: str) -> None:
    """End in one line where a package to compare with is missing.

    Raises:
        SystemExit: If a module cannot be found.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise SystemExit(f"error: this compares with {', '.join(missing)}, not installed; pip install -e '.[bench]'")
