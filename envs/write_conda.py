"""Print the conda environment for what the lock file pins; `make lock` writes it.

All of the lock is listed, and not only what pyproject.toml names: pip would choose the rest anew
for every environment. The hashes are left out, as nobody could read the file then.
"""

import re
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
HEAD = """\
# Used with `--sdm conda` only. Written by `make lock`: what requirements.lock pins, for its Python.
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11
  - pip
  - pip:"""

print(HEAD)
for pin in re.findall(r"^([^\s#]+==[^\\]+?) \\$", LOCK.read_text(), re.MULTILINE):
    print(f'      - "{pin}"')
