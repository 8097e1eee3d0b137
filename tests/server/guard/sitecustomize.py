"""Python loads this at start if its folder is on PYTHONPATH: nothing may leave the machine.

Attempts are refused and written to the file that SEGTRUST_CONNECTION_LOG names. An audit hook sees the
connections of every library, those made in C included.
"""

import os
import sys

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def _refuse_strangers(event, args):
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
    elif event == "socket.getaddrinfo":
        address = (args[0],)
    else:
        return
    host = address[0] if isinstance(address, tuple) else None  # a path is a socket of this machine
    host = host.decode() if isinstance(host, bytes) else host
    if not host or str(host).startswith(_LOOPBACK):
        return
    with open(os.environ["SEGTRUST_CONNECTION_LOG"], "a", encoding="utf-8") as log:  # noqa: PTH123
        log.write(f"{os.getpid()} {event} {address}\n")
    raise PermissionError(f"no connection may leave this machine, got {address}")


if "SEGTRUST_CONNECTION_LOG" in os.environ:
    sys.addaudithook(_refuse_strangers)
