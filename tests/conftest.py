"""Tests compute with one thread each: two run at once, and results then repeat exactly."""

import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for commands that tests start


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory):
    """Return a function from a preset's name to the folder of its tiny pipeline, built once."""
    folders = {}

    def folder(preset):
        if preset not in folders:
            import tiny_pipelines  # here, because it takes seconds to import diffusers

            where = tmp_path_factory.mktemp("tiny-pipelines") / preset
            folders[preset] = tiny_pipelines.build(preset, where)
        return folders[preset]

    return folder
