"""Commands in a pseudo terminal, and what is on its screen in the end."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from dataclasses import dataclass


@dataclass
class Shown:
    """What a command wrote to its terminal."""

    status: int
    written: str

    @property
    def screen(self) -> list[str]:
        """The lines in the end: what was written over is gone."""
        lines = [""]
        for part in re.split(r"(\r\n|\n|\r)", re.sub(r"\x1b\[\d*m", "", self.written)):
            if part in ("\n", "\r\n"):
                lines.append("")
                column = 0
            elif part == "\r":
                column = 0
            elif part:
                column = 0 if len(lines) == 1 and not lines[0] else column
                lines[-1] = lines[-1][:column] + part + lines[-1][column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in lines]


def in_terminal(command, folder, environment, columns=100, keys=None, after="", most=300) -> Shown:
    """Run a command in a terminal.

    Args:
        keys: to be pressed once `after` was written.
    """
    process, terminal = pty.fork()
    if not process:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests started in the background ignore it
        os.chdir(folder)
        os.execvpe(command[0], command, environment | {"TERM": "xterm"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    written, until = b"", time.monotonic() + most
    while time.monotonic() < until:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if not ready:
            continue
        try:
            got = os.read(terminal, 65536)
        except OSError:  # so Linux says that nobody has it open any more
            break
        if not got:
            break
        written += got
        if keys and after.encode() in written:
            os.write(terminal, keys)
            keys = None
    else:
        os.kill(process, 9)
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return Shown(os.waitstatus_to_exitcode(status), written.decode())


def snakemake_in_terminal(checkout, *options, config="tiny.yaml", **terminal) -> Shown:
    """Run the command that a user types."""
    command = [sys.executable, "-m", "snakemake", *options, "--configfile", config]
    return in_terminal(command, checkout.folder, checkout.environment(), **terminal)
