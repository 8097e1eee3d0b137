"""Figures of error flags as Markdown, so that the page quotes what was measured and nothing else."""

from collections.abc import Mapping
from typing import Any

__all__ = ["error_tables"]


def error_tables(system: Mapping[str, Any], *, score: str = "entropy") -> str:
    """Write what a run of ``run_error_flags`` found for one system as three Markdown tables.

    Args:
        system: ``detection`` and ``flags``, as JSON holds them.
        score: whose flags are shown rule by rule.

    Returns:
        AUROC and AUPR per score and region; recall, precision and flagged share per rule in the band; recall
        per kind of error and rule.
    """
    rules = system["flags"][score]
    kinds = next(iter(rules.values()))["kinds"]
    return "\n".join([
        _row("score", "AUROC band", "worst tenth of scans", "outside", "volume", "AUPR band", "volume"),
        _line(7),
        *(
            _row(
                name,
                _interval(found["band"]["auroc"]["pooled"]),
                _number(found["band"]["auroc"]["worst"]),
                *(_number(found[region]["auroc"]["pooled"]["value"]) for region in ("outside", "volume")),
                _interval(found["band"]["aupr"]["pooled"]),
                _number(found["volume"]["aupr"]["pooled"]["value"]),
            )
            for name, found in system["detection"].items()
        ),
        "",
        _row("rule", "recall", "worst tenth", "precision", "worst tenth", "flagged", "most flagged tenth"),
        _line(7),
        *(
            _row(
                rule,
                _interval(found["recall"]["pooled"]),
                _number(found["recall"]["worst"]),
                _interval(found["precision"]["pooled"]),
                _number(found["precision"]["worst"]),
                _number(found["flagged"]["pooled"]["value"]),
                _number(found["flagged"]["worst"]),
            )
            for rule, found in rules.items()
        ),
        "",
        _row("rule", *(f"{name} ({found['voxels']})" for name, found in kinds.items())),
        _line(1 + len(kinds)),
        *(
            _row(rule, *(_number(kind["recall"]) for kind in found["kinds"].values()))
            for rule, found in rules.items()
        ),
    ])  # fmt: skip


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _line(columns: int) -> str:
    return "|---" * columns + "|"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(found: Mapping[str, float | None]) -> str:
    if found["value"] is None:
        return "not defined"
    if found["low"] is None or found["high"] is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
