#!/usr/bin/env python3
"""A router by server name: accepts TCP connections, reads the ClientHello as far as it has the name,
and passes the connection, with what it has read, to the server for that name.

    router.py NAME=PATH [NAME=PATH ...]

Each PATH is that of a Unix socket: `address = "passed:PATH"` of sitar. Connections without a name,
such as those of plain HTTP, go to the NAME `-`. The port is printed."""
import array
import socket
import sys


def server_name(data):
    """Returns the name in a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3); None: not all of it is here."""
    if data[:1] != b"\x16":
        return "-" if data else None
    if len(data) < 5 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
        return None
    at = 5 + 4 + 2 + 32
    at += 1 + data[at]
    at += 2 + int.from_bytes(data[at:at + 2], "big")
    at += 1 + data[at]
    end = at + 2 + int.from_bytes(data[at:at + 2], "big")
    at += 2
    while at < end:
        kind, size = int.from_bytes(data[at:at + 2], "big"), int.from_bytes(data[at + 2:at + 4], "big")
        if kind == 0:
            return data[at + 9:at + 4 + size].decode()
        at += 4 + size
    return "-"


class Server:
    """A connection to a server, which is made again when the server closes it: then another process
    takes its place, or it is gone."""

    def __init__(self, path):
        self.path, self.socket = path, None

    def send(self, data, descriptor):
        message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        for _ in range(100):
            if self.socket is None:
                self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self.socket.connect(self.path)
            try:
                # The server says nothing but that it leaves.
                if self.socket.recv(1, socket.MSG_DONTWAIT) == b"":
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except ConnectionError:
                self.socket.close()
                self.socket = None
                continue
            try:
                # Waits while the server takes no more.
                return self.socket.sendmsg([data], message)
            except ConnectionError:
                self.socket.close()
                self.socket = None
        raise ConnectionError(self.path)


def main():
    servers = dict(pair.split("=", 1) for pair in sys.argv[1:])
    servers = {name: Server(path) for name, path in servers.items()}
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        with client:
            client.settimeout(10)
            data, name = b"", None
            try:
                while name is None and len(data) < 16384 and (more := client.recv(16384 - len(data))):
                    data += more
                    name = server_name(data)
                if name in servers:
                    servers[name].send(data, client.fileno())
            except OSError as error:
                print(error, file=sys.stderr, flush=True)


main()
