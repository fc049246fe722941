"""A real Slurm cluster on one Linux machine, for the tests: up in seconds, down without a trace.

    python tests/cluster/cluster.py up FOLDER [--install]
    python tests/cluster/cluster.py run FOLDER -- sbatch --wrap hostname
    python tests/cluster/cluster.py node kill FOLDER n2     (and: node start FOLDER n2)
    python tests/cluster/cluster.py down FOLDER

Three nodes of 4 CPUs, 4000 MB and 4 make-believe H100s. Each host, the head and the nodes, is a
network namespace on a bridge of our own, so no port of the machine is taken; the bridge also is
the lock that keeps a second cluster out, and its alias names the folder of the first. A cluster of
tests holds a lock on a file in its folder too: one whose tests were killed is taken down by the
next that comes up. Each daemon
runs in a process namespace of its own: killing its first process ends all it ever started.
Everything else (settings, sockets, logs, pids, database) lies in FOLDER.
It needs root on Debian or Ubuntu, and packages; where it cannot be, the exit status is 2.
"""

import argparse
import fcntl
import os
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

HERE = Path(__file__).resolve().parent
# With mariadb-server comes iproute2.
PACKAGES = ["mariadb-server", "munge", "slurm-wlm", "slurm-wlm-mysql-plugin", "slurmdbd"]
NODES = ["n1", "n2", "n3"]
BRIDGE = "synthgap"  # also the prefix of the namespaces and of their cables
BRIDGE_ADDRESS = "198.18.77.254"  # in the block that is reserved for tests of networks
HELD = "held"  # locked by the process for whose life the cluster is up
ADDRESSES = {"head": "198.18.77.100", "n1": "198.18.77.1", "n2": "198.18.77.2", "n3": "198.18.77.3"}


class ClusterError(Exception):
    """The cluster does not do what it should."""

    status = 1


class UnavailableError(ClusterError):
    """This machine cannot have a test cluster."""

    status = 2


class Cluster:
    """The cluster whose state lies in `folder`; as a context, up inside and down afterwards."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).resolve()
        self._held: BinaryIO | None = None

    def __enter__(self) -> "Cluster":
        self.up(hold=True)
        return self

    def __exit__(self, *_error: object) -> None:
        self.down()

    def up(self, install: bool = False, hold: bool = False) -> None:
        """Bring the cluster up; whatever goes wrong, leave only the folder with its logs.

        Where `hold`, the cluster is no use once this process has ended, however it ends.
        """
        require_machine(install)
        if len(str(self.folder)) > 70:  # a socket's path has 107 characters at most
            raise ClusterError(f"{self.folder}: choose a folder of at most 70 characters")
        if (owner := bridge_owner()) and is_abandoned(Path(owner)):
            Cluster(owner).down()
            owner = None
        if owner:
            down = f"python {HERE}/cluster.py down {owner}"
            raise ClusterError(f"A test cluster is up already; take it down first: {down}")
        if self.folder.exists() and any(self.folder.iterdir()):
            if not (self.folder / "slurm.conf").exists():
                raise ClusterError(f"{self.folder} is neither empty nor a test cluster's")
            shutil.rmtree(self.folder)  # of an earlier cluster, which is down
        self.folder.mkdir(parents=True, exist_ok=True)
        if hold:
            self._held = (self.folder / HELD).open("wb")
            fcntl.flock(self._held, fcntl.LOCK_EX)
        call("ip", "link", "add", BRIDGE, "type", "bridge")  # fails where another was quicker
        try:
            call("ip", "link", "set", BRIDGE, "alias", str(self.folder))
            self._write_settings()
            self._make_network()
            self._start_head()
            for node in NODES:
                self._start(f"slurmd-{node}", node, ["slurmd", "-D", "-N", node])
            for node in NODES:
                self._wait_for_node(node)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End every process and take the network away; the folder with its logs stays."""
        for record in sorted(self.folder.glob("pids/*")):
            self._stop(record.name)
        if bridge_owner() != str(self.folder):
            return
        for name in map(namespace, ADDRESSES):
            # What an `up` that was killed had not noted yet.
            kill(call("ip", "netns", "pids", name, check=False).stdout.split())
            call("ip", "netns", "delete", name, check=False)  # there may be none yet
            call("ip", "link", "delete", name, check=False)  # often gone with its other end
        call("ip", "link", "delete", BRIDGE)
        if not any(Path("/run/netns").glob("*")):
            call("umount", "/run/netns", check=False)  # which the first namespace had mounted

    def environment(self) -> dict[str, str]:
        """Return this process's environment with which Slurm's commands reach this cluster."""
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        path = os.environ.get("PATH", os.defpath)
        return outer | {"SLURM_CONF": f"{self.folder}/slurm.conf", "PATH": f"{path}:/usr/sbin"}

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as on a login node and keep its output; `options` are those of `call`."""
        return call(*command, env=self.environment(), **options)

    def kill_node(self, node: str) -> None:
        """Lose a node: cut its cable, then kill its daemon and all its jobs' processes."""
        call("ip", "link", "set", namespace(node), "down")  # so that no job reports its end
        self._stop(f"slurmd-{node}")

    def start_node(self, node: str) -> None:
        """Bring a lost node back and wait until it takes jobs."""
        call("ip", "link", "set", namespace(node), "up")
        self._start(f"slurmd-{node}", node, ["slurmd", "-D", "-N", node])
        self._wait_for_node(node)

    def _write_settings(self) -> None:
        folders = ["munge", "database", "log", "pids", "gpus", "slurmctld", "login_only"]
        for name in folders:
            (self.folder / name).mkdir(parents=True)
        for template in (HERE / "settings").iterdir():
            path = self.folder / template.name
            path.touch(0o600)  # as slurmdbd demands of its own
            path.write_text(template.read_text().format(folder=self.folder, **ADDRESSES))
        (self.folder / "hosts").chmod(0o644)
        key = self.folder / "munge" / "key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        for gpu in range(4):
            os.mknod(self.folder / "gpus" / f"nvidia{gpu}", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    def _make_network(self) -> None:
        call("ip", "address", "add", f"{BRIDGE_ADDRESS}/24", "dev", BRIDGE)
        call("ip", "link", "set", BRIDGE, "up")
        for host, address in ADDRESSES.items():
            name = namespace(host)
            call("ip", "netns", "add", name)
            cable = ["peer", "name", "eth0", "netns", name]
            call("ip", "link", "add", name, "type", "veth", *cable)
            call("ip", "link", "set", name, "master", BRIDGE, "up")
            call("ip", "-netns", name, "address", "add", f"{address}/24", "dev", "eth0")
            call("ip", "-netns", name, "link", "set", "eth0", "up")
            call("ip", "-netns", name, "link", "set", "lo", "up")

    def _start_head(self) -> None:
        munge, database, head = self.folder / "munge", self.folder / "database", ADDRESSES["head"]
        # By force, as root, because the folder may be closed to other users, as pytest's are.
        options = ["--foreground", "--force", f"--pid-file={munge}/pid", f"--log-file={munge}/log"]
        options += [f"--key-file={munge}/key", f"--seed-file={munge}/seed"]
        self._start("munged", "head", ["munged", *options, f"--socket={munge}/socket"])
        self._wait_for("munged", lambda: answers(f"{munge}/socket"))

        options = ["--no-defaults", f"--datadir={database}", "--user=root"]
        options += ["--innodb-flush-method=nosync", "--skip-innodb-doublewrite"]
        prepare = shlex.join(["mariadb-install-db", *options, "--skip-test-db"])
        options += [f"--socket={database}/socket", f"--pid-file={database}/pid"]
        serve = shlex.join(["mariadbd", *options, "--skip-networking", "--skip-grant-tables"])
        self._start("mariadbd", "head", ["sh", "-c", f"{prepare} && exec {serve}"])
        self._wait_for("mariadbd", lambda: answers(f"{database}/socket"))

        self._start("slurmdbd", "head", ["slurmdbd", "-D"])
        self._wait_for("slurmdbd", lambda: answers((head, 6819)))
        for what in ["cluster synthgap", "account lab", "user root account=lab"]:
            self.run(["sacctmgr", "--immediate", "add", *what.split()])
        self._start("slurmctld", "head", ["slurmctld", "-D"])
        self._wait_for("slurmctld", lambda: answers((head, 6817)))

    def _wait_for_node(self, node: str) -> None:
        def takes_jobs() -> bool:
            state = self.run(["sinfo", "--noheader", f"--nodes={node}", "--format=%T"]).stdout
            if state.startswith(("drain", "down")):
                resume = ["scontrol", "update", f"nodename={node}", "state=resume"]
                self.run(resume, check=False)  # refused while the node is still on its way
            known = state.split()[0] in {"idle", "mixed", "allocated"}  # perhaps still, from before
            return known and answers((ADDRESSES[node], 6818))

        self._wait_for(f"slurmd-{node}", takes_jobs)

    def _start(self, daemon: str, host: str, command: list[str]) -> None:
        """Start a daemon on a host, apart from this process, and note its pid."""
        if self._process(daemon):
            raise ClusterError(f"{daemon} is running already")
        enter = ["nsenter", f"--net=/run/netns/{namespace(host)}", "unshare", "--uts", "--pid"]
        enter += ["--fork", "--kill-child", "--propagation=slave", "--mount-proc"]
        first = ["sh", f"{HERE}/first_process.sh", host, str(self.folder)]
        environment = self.environment() | {"MYSQL_UNIX_PORT": f"{self.folder}/database/socket"}
        with (self.folder / "log" / daemon).open("ab") as log:
            process = subprocess.Popen(
                [*enter, *first, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )
        record = self.folder / "pids" / daemon
        record.write_text(f"{process.pid} {start_time(process.pid) or 0}\n")

    def _stop(self, daemon: str) -> None:
        """Kill a daemon and all processes of its namespace, and wait until they are gone."""
        if pid := self._process(daemon):
            # With the first process all others go, and then `unshare` ends by itself.
            first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            kill(first or [str(pid)])
            wait(lambda: not self._process(daemon), f"{daemon} (pid {pid}) to end")
        (self.folder / "pids" / daemon).unlink(missing_ok=True)

    def _process(self, daemon: str) -> int | None:
        """Return a daemon's pid as noted, if that process still is the one that was noted."""
        try:
            pid, started = map(int, (self.folder / "pids" / daemon).read_text().split())
        except (FileNotFoundError, ValueError):  # half a note, where `up` was killed
            return None
        return pid if start_time(pid) == started else None

    def _wait_for(self, daemon: str, ready: Callable[[], bool]) -> None:
        """Wait until a daemon is ready; if it never is, show the end of its log."""
        try:
            wait(lambda: not self._process(daemon) or ready(), daemon)
            if not self._process(daemon):
                raise ClusterError(f"{daemon} ended")
        except ClusterError as error:
            log = self.folder / "log" / daemon
            lines = log.read_text(errors="replace").splitlines()[-20:]
            raise ClusterError("\n".join([f"{error}; the end of {log}:", *lines])) from None


def call(
    *command: str, check: bool = True, timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command and keep its output, which the error shows where it fails."""
    pipes = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    try:
        done = subprocess.run(command, timeout=timeout, **(pipes | options))
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"Not done within {timeout:g} s: {' '.join(command)}") from error
    if check and done.returncode:
        output = (done.stdout + done.stderr).strip()[-2000:]
        raise ClusterError(f"Exit status {done.returncode}: {' '.join(command)}\n{output}")
    return done


def kill(pids: list[str]) -> None:
    """Kill processes that may have ended meanwhile."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def wait(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"Waited {seconds:g} s in vain for {what}")
        time.sleep(0.1)


def answers(address: str | tuple[str, int]) -> bool:
    """Say whether someone listens at a socket's path, or at a host and port."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        return client.connect_ex(address) == 0


def start_time(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks, or None if it has ended."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # ours would stay as a zombie
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(fields[18])


def namespace(host: str) -> str:
    """Return the name of a host's network namespace and of its cable's end on the machine."""
    return f"{BRIDGE}-{host}"


def bridge_owner() -> str | None:
    """Return the folder of the cluster that is up, or None."""
    alias = Path("/sys/class/net", BRIDGE, "ifalias")
    return (alias.read_text().strip() or "an unknown folder") if alias.exists() else None


def is_abandoned(folder: Path) -> bool:
    """Say whether a cluster was to be up for a process that has ended."""
    if not folder.exists():  # pytest keeps few of its folders
        return folder.is_absolute()
    try:
        with (folder / HELD).open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def require_machine(install: bool = False) -> None:
    """Raise `UnavailableError` unless this machine can have a test cluster."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("dpkg-query"):
        raise UnavailableError("The Slurm test cluster needs root on Linux, Debian or Ubuntu")
    trial = ["unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    if call(*trial, check=False).returncode:
        raise UnavailableError("The Slurm test cluster needs namespaces, refused here")
    query = ["dpkg-query", "--show", "--showformat=${Status}"]
    installed = "install ok installed"
    missing = [p for p in PACKAGES if call(*query, p, check=False).stdout != installed]
    if missing and (install or os.environ.get("SYNTHGAP_CLUSTER_INSTALL") == "1"):
        call("sh", f"{HERE}/install.sh", *missing, timeout=900)
    elif missing:
        raise UnavailableError(
            "The Slurm test cluster needs packages: apt-get install -y --no-install-recommends "
            f"{' '.join(missing)}; or let `up --install` or SYNTHGAP_CLUSTER_INSTALL=1 do it"
        )


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the cluster up")
    up.add_argument("--install", action="store_true", help="install missing Debian packages")
    run = commands.add_parser("run", help="run a command that talks to the cluster")
    node = commands.add_parser("node", help="lose a node, or bring it back")
    node.add_argument("action", choices=["kill", "start"])
    down = commands.add_parser("down", help="take the cluster down")
    for each in [up, run, node, down]:
        each.add_argument("folder", type=Path)
    node.add_argument("name", choices=NODES)
    run.add_argument("words", nargs="+", metavar="-- COMMAND")
    options = parser.parse_args()

    cluster = Cluster(options.folder)
    try:
        if options.command == "up":
            cluster.up(options.install)
        elif options.command == "down":
            cluster.down()
        elif options.command == "node":
            {"kill": cluster.kill_node, "start": cluster.start_node}[options.action](options.name)
        else:
            os.execvpe(options.words[0], options.words, cluster.environment())
    except ClusterError as error:
        print(error, file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
