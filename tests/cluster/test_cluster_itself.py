"""The test cluster behaves as a real one, above all in its faults."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import ADDRESSES, NODES, Cluster, ClusterError, call, namespace, start_time, wait

pytestmark = pytest.mark.cluster

COMMAND = [sys.executable, Path(__file__).with_name("cluster.py")]


class Jobs:
    """Submits jobs of a cluster and asks for their fate."""

    def __init__(self, cluster, folder):
        self.cluster = cluster
        self.folder = folder

    def submit(self, script, *options):
        """Submit a shell script and return its job's number."""
        sbatch = ["sbatch", "--parsable", f"--chdir={self.folder}", "--output=%j.out", *options]
        return self.cluster.run([*sbatch, f"--wrap={script}"]).stdout.strip()

    def show(self, job):
        """Return what the controller knows of a job."""
        shown = self.cluster.run(["scontrol", "--oneliner", "show", "job", job]).stdout
        return dict(word.partition("=")[::2] for word in shown.split())

    def wait_for(self, job, *states, seconds=60):
        """Wait until a job is in one of the states; return what the controller knows then."""
        wait(lambda: self.show(job)["JobState"] in states, f"job {job} to be {states}", seconds)
        return self.show(job)

    def output(self, job):
        """Return what a job printed."""
        return (self.folder / f"{job}.out").read_text()


@pytest.fixture
def jobs(cluster, tmp_path):
    """Return the cluster's jobs; those that a test leaves behind are cancelled."""
    jobs = Jobs(cluster, tmp_path)
    yield jobs
    cluster.run(["scancel", "--user=root", "--name=wrap"])


@pytest.fixture(scope="module", autouse=True)
def overdue(cluster, tmp_path_factory):
    """Return a job over its time limit, begun first of all: Slurm's shortest limit is a minute."""
    jobs = Jobs(cluster, tmp_path_factory.mktemp("overdue"))
    options = ["--job-name=overdue", "--time=1", "--nodelist=n3", "--mem=100"]
    return jobs, jobs.submit("sleep 300", *options)


def test_a_job_gets_the_gpu_it_asked_for(jobs):
    job = jobs.submit("echo $CUDA_VISIBLE_DEVICES $(hostname)", "--gpus=h100:1", "--nodelist=n2")
    jobs.wait_for(job, "COMPLETED")
    assert jobs.output(job).split() == ["0", "n2"]


def test_a_gpu_that_no_node_has_is_refused_at_once(jobs):
    with pytest.raises(ClusterError, match="Requested node configuration is not available"):
        jobs.submit("true", "--gpus=a100:1")


@pytest.mark.parametrize(("gpus", "number", "most"), [(1, 5, 4), (2, 3, 2)])
def test_jobs_share_the_four_gpus_of_a_node(jobs, gpus, number, most):
    script = "echo $(date +%s.%N) $CUDA_VISIBLE_DEVICES; sleep 3; date +%s.%N"
    options = [f"--gpus=h100:{gpus}", "--nodelist=n1", "--mem=100"]
    submitted = [jobs.submit(script, *options) for _ in range(number)]
    for job in submitted:
        jobs.wait_for(job, "COMPLETED")
    printed = [jobs.output(job).split() for job in submitted]
    at_once = []
    for moment, _, _ in printed:
        used = [gpu for begin, gpu, end in printed if float(begin) <= float(moment) < float(end)]
        devices = [device for gpu in used for device in gpu.split(",")]
        assert len(devices) == len(set(devices))
        assert set(devices) <= {"0", "1", "2", "3"}
        at_once.append(len(used))
    assert max(at_once) == most


def test_a_job_over_its_memory_is_killed(jobs):
    hoard = "import time; hoard = b'1' * 300_000_000; time.sleep(60)"
    job = jobs.submit(f'{sys.executable} -c "{hoard}"', "--mem=100")
    state = jobs.wait_for(job, "OUT_OF_MEMORY", "FAILED", "CANCELLED", "COMPLETED")["JobState"]
    assert state in {"OUT_OF_MEMORY", "FAILED"}
    assert "memory limit" in jobs.output(job)


def test_a_lost_nodes_job_is_run_again_elsewhere_and_the_node_comes_back(cluster, jobs):
    script = "hostname >> hosts; while [ ! -e go ]; do sleep 0.2; done"
    job = jobs.submit(script, "--requeue", "--exclude=n3", "--exclusive", "--mem=100")
    lost = jobs.wait_for(job, "RUNNING")["NodeList"]
    hosts = jobs.folder / "hosts"
    wait(hosts.exists, "the job's first line")
    inside = cluster.run(["ip", "netns", "pids", namespace(lost)]).stdout.split()
    assert len(inside) >= 4

    cluster.kill_node(lost)

    assert not any(start_time(int(pid)) for pid in inside)
    wait(lambda: len(hosts.read_text().split()) == 2, "the job's second start", 90)
    (jobs.folder / "go").touch()
    assert jobs.wait_for(job, "COMPLETED")["Restarts"] == "1"
    assert hosts.read_text().split()[0] == lost != hosts.read_text().split()[1]

    cluster.start_node(lost)

    job = jobs.submit("hostname", f"--nodelist={lost}")
    jobs.wait_for(job, "COMPLETED")
    assert jobs.output(job).strip() == lost


def test_partition_high_preempts_and_the_other_job_is_run_again(jobs):
    whole = ["--nodelist=n1", "--exclusive", "--mem=100"]
    low = jobs.submit("while [ ! -e go ]; do sleep 0.2; done", "--partition=gpu", *whole)
    jobs.wait_for(low, "RUNNING")

    high = jobs.submit("true", "--partition=high", *whole)

    jobs.wait_for(high, "COMPLETED")
    (jobs.folder / "go").touch()
    assert jobs.wait_for(low, "COMPLETED")["Restarts"] == "1"


def test_accounting_remembers_a_job(cluster, jobs):
    job = jobs.submit("exit 3")
    jobs.wait_for(job, "FAILED")
    sacct = ["sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={job}"]
    columns = "--format=State,ExitCode"
    wait(lambda: "FAILED|3:0" in cluster.run([*sacct, columns]).stdout, "sacct to know the job")


def test_a_second_cluster_is_refused(cluster, tmp_path):
    done = subprocess.run([*COMMAND, "up", tmp_path / "b"], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"down {cluster.folder}" in done.stderr
    assert not (tmp_path / "b").exists()


def test_taking_down_another_folder_leaves_the_cluster_alone(cluster, tmp_path):
    subprocess.run([*COMMAND, "down", tmp_path / "b"], check=True)
    assert cluster.run(["scontrol", "ping"]).stdout.count("UP") == 1


def test_run_passes_the_exit_status_on(cluster):
    done = subprocess.run([*COMMAND, "run", cluster.folder, "--", "sh", "-c", "sinfo && exit 7"])
    assert done.returncode == 7


def test_a_job_over_its_time_is_stopped(overdue):
    jobs, job = overdue
    jobs.wait_for(job, "TIMEOUT", seconds=150)


@pytest.fixture
def restored(cluster):
    """Return the session's cluster to a test that takes it down; bring it up again afterwards."""
    yield cluster
    cluster.down()
    cluster.up(hold=True)


def processes():
    """Return the pids of all processes in the cluster's network namespaces."""
    listed = [call("ip", "netns", "pids", namespace(host)).stdout for host in ADDRESSES]
    return [int(pid) for pid in " ".join(listed).split()]


def assert_nothing_left(pids):
    """Fail if a process, a namespace, a cable or a mount is still there."""
    assert not [pid for pid in pids if start_time(pid)]
    assert not list(Path("/run/netns").glob("synthgap*"))
    assert not list(Path("/sys/class/net").glob("synthgap*"))
    assert "synthgap" not in Path("/proc/mounts").read_text()


def test_down_leaves_nothing(restored):
    pids = [int(path.read_text().split()[0]) for path in restored.folder.glob("pids/*")]
    assert len(pids) == 4 + len(NODES)
    assert set(pids) < set(processes())
    pids += processes()
    restored.down()
    assert_nothing_left(pids)
    restored.down()  # once more does no harm


def test_down_leaves_nothing_of_an_up_that_was_killed(restored):
    restored.down()
    up = subprocess.Popen([*COMMAND, "up", restored.folder])
    wait(lambda: (restored.folder / "pids" / "mariadbd").exists(), "the database's start")
    up.kill()
    up.wait()
    pids = processes()
    assert pids
    restored.down()
    assert_nothing_left(pids)


@pytest.mark.parametrize("folder_is_there", [True, False])
def test_a_cluster_whose_tests_were_killed_is_taken_down(restored, tmp_path, folder_is_there):
    restored.down()
    program = "import sys; from cluster import Cluster; Cluster(sys.argv[1]).up(hold=True); input()"
    killed = [sys.executable, "-c", program, tmp_path / "a"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(killed, stdin=subprocess.PIPE, env=here) as tests:
        wait((tmp_path / "a/pids/slurmd-n3").exists, "the last daemon's start")
        tests.kill()
    if not folder_is_there:
        (tmp_path / "a").rename(tmp_path / "gone")  # its daemons still write there
    pids = processes()
    restored.up(hold=True)
    assert not [pid for pid in pids if start_time(pid)]
    assert restored.run(["scontrol", "ping"]).stdout.count("UP") == 1


def test_a_daemon_that_fails_is_shown_with_its_log(restored, monkeypatch):
    restored.down()
    monkeypatch.setattr(Cluster, "_make_network", lambda self: None)
    with pytest.raises(ClusterError, match=r"munged ended; the end of .*munged:\nnsenter"):
        restored.up()
    monkeypatch.undo()
    assert_nothing_left([])
