"""Stops a server whose terminal is stopped (Ctrl-S): PROGRAM FOLDER. Fails if it does not end."""

import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time

PATIENCE = 30

program, folder = sys.argv[1:]
_master, terminal = pty.openpty()
arguments = [program, "serve", folder, "--tls", "off", "--listen", "127.0.0.1:0"]
server = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=terminal, text=True)
try:
    listens = next(line for line in server.stdout if line.startswith("  listens  "))
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", int(listens.rsplit(":", 1)[1])))
    client.sendall(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.recv(9) == b"HTTP/1.1 "
    termios.tcflow(terminal, termios.TCOOFF)
    server.send_signal(signal.SIGTERM)
    # It says what it waits for after a moment.
    time.sleep(2)
    client.close()
    assert server.wait(PATIENCE) == 0, server.returncode
finally:
    server.kill()
print("ended")
