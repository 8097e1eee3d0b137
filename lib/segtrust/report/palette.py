"""Okabe and Ito's colours, readable with every common form of colour blindness, and how a page uses them."""

__all__ = ["DASHES", "INK", "LINE_COLOURS", "MARKS", "OUTLINE_COLOURS", "PALE_BLUE", "RULE"]

_BLUE, _SKY, _PINK = "#0072b2", "#56b4e9", "#cc79a7"

LINE_COLOURS = (_BLUE, "#d55e00", "#009e73", _PINK, "#e69f00", _SKY, "#7f7f7f")
"""Lines and points on paper: without the yellow that white swallows."""
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 5", "1 4", "12 4")
"""Dashes and gaps of a line, so that lines differ without their colours too."""
MARKS = ("o", "s", "^", "D", "v", "P", "X")
"""Marks of points, for the same reason."""
INK, RULE = ("#58616d", "#a0abb8"), ("#d9dee5", "#2f3740")
"""Text and lines of a figure, on a light page and on a dark one."""
PALE_BLUE = "#9fbfd6"
"""Intervals behind their points."""
OUTLINE_COLOURS = (_SKY, "#2fd6a0", "#ffffff", _PINK, _BLUE, "#f0e442")
"""Outlines that stand out on grey and on the scale of chances alike; more structures take turns."""
