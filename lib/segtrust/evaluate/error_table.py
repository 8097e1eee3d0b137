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
                _interval(figures["band"]["auroc"]["pooled"]),
                _number(figures["band"]["auroc"]["worst"]),
                *(_number(figures[region]["auroc"]["pooled"]["value"]) for region in ("outside", "volume")),
                _interval(figures["band"]["aupr"]["pooled"]),
                _number(figures["volume"]["aupr"]["pooled"]["value"]),
            )
            for name, figures in system["detection"].items()
        ),
        "",
        _row("rule", "recall", "worst tenth", "precision", "worst tenth", "flagged", "most flagged tenth"),
        _line(7),
        *(
            _row(
                rule,
                _interval(figures["recall"]["pooled"]),
                _number(figures["recall"]["worst"]),
                _interval(figures["precision"]["pooled"]),
                _number(figures["precision"]["worst"]),
                _number(figures["flagged"]["pooled"]["value"]),
                _number(figures["flagged"]["worst"]),
            )
            for rule, figures in rules.items()
        ),
        "",
        _row("rule", *(f"{name} ({figures['voxels']})" for name, figures in kinds.items())),
        _line(1 + len(kinds)),
        *(
            _row(rule, *(_number(kind["recall"]) for kind in figures["kinds"].values()))
            for rule, figures in rules.items()
        ),
    ])  # fmt: skip


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _line(columns: int) -> str:
    return "|---" * columns + "|"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(interval: Mapping[str, float | None]) -> str:
    if interval["value"] is None:
        return "not defined"
    if interval["low"] is None or interval["high"] is None:
        return f"{interval['value']:.3f} ({interval.get('interval', 'interval not defined')})"
    return f"{interval['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
