"""One Slurm cluster for all tests of a session; run them without xdist: pytest tests/cluster."""

import os
import shutil
from pathlib import Path

import pytest
from on_cluster import SITE, OnCluster

from cluster import Cluster, UnavailableError


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Return a cluster that is up, or skip where this machine cannot have one."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "c")
    try:
        cluster.up(hold=True)
    except UnavailableError as error:
        if os.environ.get("SYNTHGAP_CLUSTER_INSTALL") == "1":  # `make test-cluster`: it is wanted
            pytest.exit(str(error), returncode=2)
        pytest.skip(str(error))
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def finished(cluster, tmp_path_factory):
    """Return a checkout in which `snakemake --profile slurm` made everything; only look at it."""
    folder = tmp_path_factory.mktemp("study") / "finished"
    folder.mkdir()
    checkout = OnCluster.copied(folder, cluster)
    shutil.copy2(Path(__file__).with_name("small.yaml"), folder)
    (folder / "config/site.yaml").write_text(SITE)
    done = checkout.start().wait()
    assert done.returncode == 0, done.output[-5000:]
    checkout.note_allocations("write_report")  # now, as a test takes the cluster down
    return checkout


@pytest.fixture
def checkout(finished, tmp_path):
    """Return a copy of the finished run that a test may change; its jobs end with the test."""
    shutil.copytree(finished.folder, tmp_path / "checkout", symlinks=True)
    checkout = OnCluster(tmp_path / "checkout", finished.cluster)
    yield checkout
    checkout.end()
