"""`PYTHONPATH=tests python -m tiny_pipelines NAME FOLDER`: save the tiny pipeline of a preset."""

import argparse
from pathlib import Path

from tiny_pipelines import PRESETS, build

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("name", choices=PRESETS)
parser.add_argument("folder", type=Path)
options = parser.parse_args()
print(build(options.name, options.folder))
