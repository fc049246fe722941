"""Told to stop: at once where nothing is at stake, after saving where something is."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from synthgap import stopping
from synthgap.checkpoint import Checkpoint


@pytest.fixture
def listening():
    """Listen to SIGTERM in this process, and forget all of it afterwards."""
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    stopping.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    stopping._asked = False


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_stops_at_once(listening, number):
    with pytest.raises(stopping.Stopped):
        os.kill(os.getpid(), number)
    assert stopping.asked()


def test_a_signal_waits_until_the_end_of_deferred_work(listening):
    done = []

    def work():
        with stopping.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(stopping.asked())

    with pytest.raises(stopping.Stopped):
        work()
    assert done == [True]


def test_a_checkpoint_is_due_on_a_signal_and_stops_once_saved(listening, tmp_path):
    checkpoint = Checkpoint(tmp_path, every_seconds=1e9)

    def train():
        with stopping.deferred():
            for step in range(3):
                assert checkpoint.due() == (step == 1)
                if step == 0:
                    os.kill(os.getpid(), signal.SIGTERM)
                else:
                    checkpoint.save({"step": step, "weights": torch.arange(3)})

    with pytest.raises(stopping.Stopped):
        train()
    assert checkpoint.load()["step"] == 1


def test_a_stopped_command_says_so_in_one_line(tmp_path):
    code = (
        "import argparse, time; from synthgap.job import command, run\n"
        "def main(args): print('ready', flush=True); time.sleep(60)\n"
        "run(command('waits'), main)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--log", tmp_path / "log"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    words = "stopped by a signal; finished work is kept, the same command goes on with it\n"
    assert errors == words
    assert (tmp_path / "log").read_text().endswith(words)
