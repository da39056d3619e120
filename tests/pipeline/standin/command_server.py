"""`desdis-match` for tests that call it often: each call is a fork of one process with the package loaded.

python command_server.py SOCKET        says `ready`, then serves until it is killed
python -S command_client.py ARGUMENTS  in place of desdis-match, with STANDIN_SERVER=SOCKET
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

from desdis_match.commands import reconstruct, stages  # noqa: F401 - so that the forks have them
from desdis_match.commands.cli import main


def answer(connection: socket.socket) -> None:
    """Run what is asked for where it is asked, with the caller's own stdout and stderr."""
    message, streams, *_ = socket.recv_fds(connection, 1 << 20, 2)
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    asked = json.loads(message)
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    try:
        code = main(asked["arguments"])
    except SystemExit as stop:
        code = int(stop.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(str(code).encode())


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
print("ready", flush=True)
while True:
    one, _ = listener.accept()
    if not os.fork():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            answer(one)
        finally:
            os._exit(1)
    one.close()
