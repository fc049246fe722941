"""Call a command's `main` again and again in this process, and print what the process holds.

python looped.py SECONDS LEAST SCRIPT OPTIONS
"""

import contextlib
import gc
import importlib.util
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil


def main() -> None:
    """Loop for some seconds, and at least so many times."""
    seconds, least, script = float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    sys.argv = sys.argv[3:]
    sys.path.insert(0, str(script.parent))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    process, measured, began = psutil.Process(), [], time.monotonic()
    while time.monotonic() - began < seconds or len(measured) < least:
        with contextlib.redirect_stdout(io.StringIO()):
            module.main(module.options().parse_args(sys.argv[1:]))
        gc.collect()
        measured.append(
            {
                "memory": process.memory_info().rss,
                "files": process.num_fds(),
                "threads": process.num_threads(),
                "temporary": len(list(Path(tempfile.gettempdir()).iterdir()))
                + len([file for file in Path("results").rglob("*") if file.is_file()]),
            }
        )
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
