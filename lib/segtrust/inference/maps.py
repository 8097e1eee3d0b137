"""Names of the maps that a prediction has."""

__all__ = ["EXCESS", "MAP_NAMES", "VIEW_MAPS"]

MAP_NAMES: tuple[str, ...] = (
    "entropy",
    "chance_of_error",
    "between_member",
    "within_member",
    "variance",
    "margin",
    "votes",
)
"""Maps that every prediction has."""
EXCESS = "excess"
"""A map of versions that know the usual chance of error."""
VIEW_MAPS: tuple[str, ...] = ("view_deviation", "view_votes")
"""Maps of what changes when the scan is mirrored; the first member runs twice more for them."""
