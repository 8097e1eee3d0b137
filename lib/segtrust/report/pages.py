"""Templates of this folder, filled in; what is unknown stops, and everything is escaped."""

from jinja2 import Environment, PackageLoader, StrictUndefined

import segtrust

__all__ = ["fill_template"]


def fill_template(name: str, **values: object) -> str:
    """Fill in one template.

    Args:
        name: file in this folder.
        values: what it shows; ``version`` of segtrust is added.

    Returns:
        A complete HTML document.
    """
    environment = Environment(
        loader=PackageLoader("segtrust.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(version=segtrust.__version__, **values)
