"""One Slurm cluster for all tests of a session; run them without xdist: pytest tests/cluster."""

import pytest

from cluster import Cluster, UnavailableError


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Return a cluster that is up, or skip where this machine cannot have one."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "c")
    try:
        cluster.up()
    except UnavailableError as error:
        pytest.skip(str(error))
    yield cluster
    cluster.down()
