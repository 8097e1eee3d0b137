"""Folds, arms and findings behind `benchmarks/`: what was tried before something became the default.

Nothing that a server or the command line runs imports this package.
"""

__all__: list[str] = []
