"""Tests compute with one thread each: two run at once, and results then repeat exactly."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for commands that tests start
