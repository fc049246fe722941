"""How the processes of a training are started."""

import os
import subprocess
import sys

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from synthgap.launch import words
from synthgap.torchrun import first_of

COMMAND = ["train.py", "--log", "x"]


def test_one_process_needs_no_launcher():
    assert words(COMMAND, 1, 1, 4, 1, {}, "n1") == [sys.executable, *COMMAND]


def test_several_on_one_machine_meet_there():
    found = words(COMMAND, 4, 1, 2, 4, {"SLURM_JOB_ID": "7"}, "n1")
    assert found[1:] == [
        "-m", "synthgap.torchrun", "--nproc-per-node=4", "--log-dir=/dev/null",
        "--standalone", "--", *COMMAND,
    ]  # fmt: skip
    # Nodes are Slurm's; elsewhere all are here.
    assert words(COMMAND, 4, 2, 2, 4, {}, "n1") == found


def test_several_on_several_nodes_meet_on_the_first():
    found = words(COMMAND, 16, 2, 8, 16, {"SLURM_JOB_ID": "30007"}, "n1")
    assert found[0] == "srun"
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1"} <= set(found)
    assert {"--cpus-per-task=64", "--gpus-per-node=8"} <= set(found)
    assert {"--nproc-per-node=8", "--nnodes=2", "--rdzv-endpoint=n1:30007"} <= set(found)
    assert found[-4:] == ["--", *COMMAND]


def test_several_processes_leave_no_temporary_files(tmp_path):
    script, temporary = tmp_path / "show.py", tmp_path / "tmp"
    script.write_text("import os; print(os.environ['RANK'], flush=True)")
    temporary.mkdir()
    command = [sys.executable, "-m", "synthgap.launch", "--processes", "2", "--", str(script)]
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert sorted(done.stdout.replace("\n", "")) == ["0", "1"]
    assert list(temporary.iterdir()) == []


FAILS = """
import os, signal, sys, time
if os.environ["RANK"] == "0":
    time.sleep(60)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
print("error: mine", file=sys.stderr, flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("how", "status", "told"),
    [("1", 1, "error: mine\n"), ("143", 143, "error: mine\n"),
     ("killed", 1, "error: process 1 ended by SIGKILL; memory may have run out\n")],
)  # fmt: skip
def test_what_goes_wrong_in_one_of_several_is_told_once(tmp_path, how, status, told):
    (tmp_path / "fails.py").write_text(FAILS)
    command = [sys.executable, "-m", "synthgap.launch", "--processes", "2", "--"]
    done = subprocess.run(
        [*command, tmp_path / "fails.py", how], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (status, told)


@pytest.mark.parametrize(
    ("statuses", "first"),
    [
        ([4, 1], 1),
        ([4, -9], -9),
        ([1, -9], 1),  # the launcher's, as it did not end
        ([143, 1], 1),
        ([143, -9], -9),
        ([-15, 143], 143),
        ([4, -15], 4),
    ],
)
def test_the_failure_that_others_came_of(statuses, first, tmp_path):
    failures = [ProcessFailure(0, 1, code, str(tmp_path / "none")) for code in statuses]
    assert first_of(failures).exitcode == first
    assert first_of(failures[::-1]).exitcode == first


EARLY = """
import os
from synthgap import processes
from synthgap.errors import UserError
from synthgap.job import command, run

def main(args):
    if os.environ["RANK"] == "0":
        raise UserError("mine")
    with processes.group("cpu"):
        pass

run(command("Fails while the other waits for it."), main)
"""


def test_one_that_waits_for_a_failed_process_adds_nothing(tmp_path):
    (tmp_path / "early.py").write_text(EARLY)
    command = [sys.executable, "-m", "synthgap.launch", "--processes", "2", "--"]
    done = subprocess.run(
        [*command, tmp_path / "early.py"], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (1, "error: mine\n")


LOSES = """
import sys
from synthgap import processes
from synthgap.errors import UserError
from synthgap.job import command, run

def main(args):
    with processes.group("cpu") as (rank, world):
        processes.wait()
        if rank == int(args.fails):
            raise UserError("the disk is full")
        processes.wait()

parser = command("Fails in one of its processes.")
parser.add_argument("--fails")
run(parser, main)
"""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_others_of_a_failed_process_add_no_stack_trace(rank, tmp_path):
    (tmp_path / "loses.py").write_text(LOSES)
    command = [sys.executable, "-m", "synthgap.launch", "--processes", "2", "--"]
    words = [*command, tmp_path / "loses.py", "--log", tmp_path / "log", "--fails", rank]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "error: the disk is full\n" in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    others = done.stderr.replace("error: the disk is full\n", "")
    assert not others or others.startswith("lost the other processes of this training (")
    assert "error: the disk is full\n" in (tmp_path / "log").read_text()


def test_options_of_the_command_reach_it(tmp_path):
    script = tmp_path / "show.py"
    script.write_text("import sys; print(sys.argv[1:])")
    command = [sys.executable, "-m", "synthgap.launch", "--processes", "1", "--"]
    done = subprocess.run(
        [*command, str(script), "--log", "a b"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['--log', 'a b']"
