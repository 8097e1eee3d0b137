"""Process-wide switches that must be set before, or as soon as, monailabel is imported."""

import argparse
import os
import signal
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

__all__ = [
    "announce_server",
    "background_method",
    "before_end",
    "listening_host",
    "prepare_environment",
    "server_pid",
]

_SERVER = "SEGTRUST_SERVER_PID"


def prepare_environment() -> None:
    """No telemetry, this environment's DICOM programs on PATH, no archive that writes outside its folder."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MONAI_LABEL_AUTO_UPDATE_SCORING"] = "false"
    if (telemetry := sys.modules.get("mlflow.telemetry")) is not None:
        telemetry.set_telemetry_client()  # re-reads the switch: mlflow was imported before us
    programs = str(Path(sys.executable).parent)
    paths = os.environ.get("PATH", "").split(os.pathsep)
    if programs not in paths:
        os.environ["PATH"] = os.pathsep.join([programs, *filter(None, paths)])
    # MONAI Label unpacks what clients send to /session; this refuses members like ../../x
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)


def background_method() -> str | None:
    """What MONAI Label started this process for: ``train``, ``scoring``, ...; ``None`` in the server."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or spec.name != "monailabel.interfaces.utils.app" or "-m" not in sys.argv[1:-1]:
        return None
    return sys.argv[sys.argv.index("-m", 1) + 1]


def listening_host() -> str | None:
    """Address on which MONAI Label's command was told to listen; ``None`` if another program started us."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or spec.name != "monailabel.main":
        return None
    # loads the web server; read by MONAI Label's own parser, which takes `--ho` for `--host` too
    from monailabel.main import Main  # noqa: PLC0415

    parser = argparse.ArgumentParser(add_help=False)
    Main.args_start_server(None, parser)
    return str(parser.parse_known_args(sys.argv[2:])[0].host)


def announce_server() -> None:
    """Tell processes that this one starts which one it is."""
    os.environ[_SERVER] = str(os.getpid())


def server_pid() -> int | None:
    """The server that started this process; ``None`` in the server itself and without one."""
    pid = int(os.environ.get(_SERVER, "0"))
    return pid if pid not in (0, os.getpid()) else None


def before_end(act: Callable[[], None]) -> None:
    """Have something done when the server is asked to end (SIGTERM), before it ends.

    Functions of ``atexit`` do not run then: uvicorn closes its connections and dies of the signal.

    Args:
        act: called in a thread of its own, since the signal may come in the middle of what it needs.
    """
    end = signal.getsignal(signal.SIGTERM)
    if not callable(end) or threading.current_thread() is not threading.main_thread():
        return  # no server that could be asked

    def act_and_end(number: int, frame: FrameType | None) -> None:
        def run() -> None:
            try:
                act()
            finally:
                end(number, frame)

        threading.Thread(target=run, name="before end", daemon=True).start()

    signal.signal(signal.SIGTERM, act_and_end)
