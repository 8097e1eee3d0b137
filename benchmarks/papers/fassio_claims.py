"""What the papers on CaPE claim, beside what fassio.py measured: every sentence follows from its numbers."""

from collections.abc import Iterator
from typing import Any

from segtrust.experiments.pages import paragraph

__all__ = ["against_early", "claims"]

Json = dict[str, Any]
ARMS = {"bin": "bins", "kernel": "kernel"}


def claims(result: Json) -> list[str]:
    """A section with one paragraph for each claim that the measured parts speak about.

    Args:
        result: content of ``lung-nodules-cape.json``; parts may be missing.

    Returns:
        Lines of Markdown; none if no part speaks about a claim.
    """
    paragraphs: list[str] = []
    if "pixels" in result:
        paragraphs.append(in_segmentation(result["pixels"]["systems"]))
    if {"pixels", "slices"} <= result.keys():
        paragraphs.append(in_classification(result))
    if {"pixels", "synthetic"} <= result.keys():
        paragraphs.append(overfitting(result))
    if {"pixel sizes", "slice sizes"} <= result.keys():
        paragraphs.append(size_and_bins(result))
    return ["## What the papers claim, and what is seen here\n", *paragraphs] if paragraphs else []


def in_segmentation(systems: Json) -> str:
    """Against early stopping, and against as many steps."""
    words = [
        "*CaPE improves calibration in segmentation.* Pixels, change of the MSE against early stopping,",
        "which had fewer steps:",
        "; ".join(f"{name} {against_early(systems, arm):+.1f} %" for arm, name in ARMS.items()),
        f"; continued cross-entropy {against_early(systems, 'labels'):+.1f} %.",
    ]
    shown = [name for arm, name in ARMS.items() if is_clear(mse(systems, arm)["difference"])]
    words.append(
        f"Against as many steps a difference is shown for {', '.join(shown)}."
        if shown
        else "What CaPE gains on early stopping, cross-entropy that goes on gains as well: against as "
        "many steps no difference is shown."
    )
    ece = {arm: systems[arm]["volume"]["ece"]["value"] for arm in ("labels", *ARMS)}
    words.append(
        f"The ECE, x 1000, is {1000 * ece['labels']:.2f} with continued cross-entropy and "
        f"{', '.join(f'{1000 * ece[arm]:.2f} ({name})' for arm, name in ARMS.items())} with CaPE."
    )
    return joined(words)


def in_classification(result: Json) -> str:
    """Slices against pixels, both against as many steps."""
    words = [
        "*The gain is larger in classification.* Change of the MSE against as many steps, slices beside",
        "pixels:",
    ]
    rows = []
    for arm, name in ARMS.items():
        pair = [
            100 * mse(systems, arm)["difference"]["value"] / mse(systems, "labels")["value"]
            for systems in (result[part]["systems"] for part in ("slices", "pixels"))
        ]
        rows.append((name, *pair))
    words.append(
        "; ".join(f"{name} {slices:+.1f} % beside {pixels:+.1f} %" for name, slices, pixels in rows) + "."
    )
    gains = [name for name, slices, pixels in rows if slices < min(pixels, 0)]
    words.append(
        f"That is seen with {', '.join(gains)}." if gains else "That is not seen: slices gain nothing."
    )
    return joined(words)


def overfitting(result: Json) -> str:
    """Last epochs where chances are known; and whether the nodules had anything to overfit."""
    words = [
        "*CaPE is a regulariser against overfitting.* Known chances, MSE x 1000 of the last epoch:",
        "; ".join(last_epochs(rate, entry["systems"]) for rate, entry in result["synthetic"].items()) + ".",
    ]
    runs = [run for arm in ("labels", *ARMS) for run in result["pixels"]["watched"][arm]]
    still = sum(run["best"] == run["last"] for run in runs)
    words.append(
        f"On nodules, pixels, the last epoch of the stage was the best in {still} of {len(runs)} runs"
        + (
            ": nothing was overfitted there, and the claim was not put to the test."
            if still == len(runs)
            else "."
        )
    )
    return joined(words)


def last_epochs(rate: str, systems: Json) -> str:
    """The last epoch of every way at one learning rate."""
    values = {
        name: 1000 * mse(systems, f"{arm}, last epoch")["value"]
        for arm, name in {"labels": "continued cross-entropy", **ARMS}.items()
    }
    return f"at a rate of {rate} " + ", ".join(f"{name} {value:.1f}" for name, value in values.items())


def size_and_bins(result: Json) -> str:
    """How many of the compared cells differ, and how many are early stopping again."""
    cells = list(bins_by_size(result))
    clear = [difference for _, difference in cells if is_clear(difference)]
    worse = sum(d["value"] > 0 for d in clear)
    kept = sum(same for same, _ in cells)
    return joined(
        [
            "*The size of the training set and the number of bins matter.* One seed;",
            f"{len(clear)} of {len(cells)} differences from continued cross-entropy leave out 0, {worse} of",
            f"them to the worse, and of so many 95 % intervals {0.05 * len(cells):.1f} would by chance: an",
            f"effect of either is not shown. In {kept} of the cells no epoch of the stage was better on the",
            "watched patients than where it began, so that their figure is that of early stopping.",
        ]
    )


def bins_by_size(result: Json) -> Iterator[tuple[bool, Json]]:
    """Of every size and number of bins: whether it is early stopping again, and its difference."""
    for part in ("pixel sizes", "slice sizes"):
        for entry in result[part].values():
            start = mse(entry["systems"], "early stopping")["value"]
            for system in entry["systems"]:
                if system.endswith(" bins"):
                    own = mse(entry["systems"], system)
                    yield own["value"] == start, own["difference"]


def mse(systems: Json, system: str) -> Json:
    """The squared error of a system over all pixels or slices."""
    figure: Json = systems[system]["volume"]["mse"]
    return figure


def against_early(systems: Json, arm: str) -> float:
    """Change of the squared error against early stopping, in per cent."""
    return 100 * (mse(systems, arm)["value"] / mse(systems, "early stopping")["value"] - 1)


def is_clear(difference: Json) -> bool:
    """An interval that leaves out 0; too few patients have none."""
    return difference["low"] is not None and (difference["low"] > 0 or difference["high"] < 0)


def joined(words: list[str]) -> str:
    """A paragraph of parts, of which some begin with a sign."""
    return paragraph(" ".join(words).replace(" ;", ";"))
