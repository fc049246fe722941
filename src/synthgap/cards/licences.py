"""What licences are called on the Hugging Face hub, and what of them to say plainly.

No legal advice: a card names the licence and points at its text, which decides.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """A licence as a card tells of it."""

    hub: str
    """its identifier on the hub, `other` where there is none"""
    note: str = ""
    """what to say plainly"""


NON_COMMERCIAL = "**Non-commercial**: the licence allows no commercial use."
_NO_RIVALS = " What is made by it may not train a model that competes with it."
_RAIL = "Its attachment lists uses of the model that are not allowed."

# The licences of the built-in presets, by the name that they have there.
LICENCES = {
    "CreativeML OpenRAIL-M": Licence("creativeml-openrail-m", _RAIL),
    "CreativeML Open RAIL++-M": Licence("openrail++", _RAIL),
    "Stability AI Non-Commercial Research Community License": Licence("other", NON_COMMERCIAL),
    "Stability AI Community License": Licence(
        "other",
        "Commercial use is free up to a yearly revenue that the licence names, and needs another "
        "licence above; what is made by it may not train another foundational generative model.",
    ),
    "FLUX.1 [dev] Non-Commercial License": Licence("other", NON_COMMERCIAL + _NO_RIVALS),
    "FLUX Non-Commercial License": Licence("other", NON_COMMERCIAL + _NO_RIVALS),
    "NVIDIA NSCL v2-custom": Licence("other", NON_COMMERCIAL),
    "Apache-2.0": Licence("apache-2.0"),
}

# Identifiers of the hub that a config may give as they are.
HUB_LICENCES = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "c-uda", "cc",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m",
    "gfdl", "gpl-2.0", "gpl-3.0", "isc", "lgpl-3.0", "mit", "mpl-2.0", "odbl", "odc-by",
    "openrail", "openrail++", "pddl", "unlicense",
}  # fmt: skip


def known_licence(name: str | None) -> Licence:
    """Return what a card says of a licence: a preset's, an identifier of the hub, or any other."""
    if name is None:
        return Licence("other")
    if name in LICENCES:
        return LICENCES[name]
    found = name.lower().replace(" ", "-")
    restricted = re.search(r"non-?commercial|(^|-)nc(-|$)", found)
    return Licence(
        found if found in HUB_LICENCES else "other", NON_COMMERCIAL if restricted else ""
    )
