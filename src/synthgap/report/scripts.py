"""The scripts that a page brings along: Vega-Lite for charts, DataTables for tables."""

from __future__ import annotations

import base64
from importlib.resources import files

from markupsafe import Markup


def vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script that defines `vegaEmbed`."""
    import vl_convert

    # Its stub lacks the default.
    return _inline(vl_convert.javascript_bundle())  # type: ignore[call-arg]


def datatables() -> str:
    """DataTables with jQuery as the address of a module."""
    script = files("itables").joinpath("html", "dt_bundle.js").read_bytes()
    return f"data:text/javascript;base64,{base64.b64encode(script).decode()}"


def module(name: str) -> Markup:
    """A script of the pages' own: "tables", "charts" or "images"."""
    return _inline(files("synthgap.report").joinpath(f"{name}.js").read_text())


def _inline(script: str) -> Markup:
    """A script that may stand within a `script` element, whatever strings it has."""
    return Markup(script.replace("</script", "<\\/script"))
