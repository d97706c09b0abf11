"""Runs a program on a terminal of its own, and ends it in a way: ENDING PROGRAM ARGUMENTS...

Prints what it saw, and fails where that is not what `sitar top` has to show and to leave behind.
"""

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 30


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Terminal:
    def __init__(self, arguments):
        self.master, self.slave = os.openpty()
        resize(self.slave, 24, 80)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        environment = dict(os.environ, TERM="xterm")
        self.child = subprocess.Popen(
            arguments, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            env=environment, preexec_fn=self.own,
        )

    def own(self):
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536)
            return True
        return False

    def wait_for(self, text):
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, (text, self.seen)
            assert self.child.poll() is None, (text, self.seen)
            self.read(0.1)
        # What comes next is looked for behind it.
        before, self.seen = self.seen.split(text, 1)
        return before

    def assert_left(self):
        status = self.child.wait(PATIENCE)
        while self.read(0):
            pass
        assert status == 0, (status, self.seen)
        assert self.seen.endswith(b"\x1b[0m\x1b[?25h\x1b[?1049l"), self.seen
        assert termios.tcgetattr(self.slave) == self.before
        assert termios.tcgetattr(self.slave)[3] & termios.ECHO


ending, arguments = sys.argv[1], sys.argv[2:]
terminal = Terminal(arguments)
terminal.wait_for(b"\x1b[?1049h\x1b[?25l")
terminal.wait_for(b"\x1b[1;1H\x1b[2K\x1b[1msitar ")
assert not termios.tcgetattr(terminal.slave)[3] & termios.ECHO
# The table of sites has all columns, and then few, and fewer lines are drawn.
terminal.wait_for(b"requests/s   content/s   4xx/s   5xx/s  site, by requests")
terminal.wait_for(b"\x1b[24;1H")
resize(terminal.slave, 10, 40)
terminal.wait_for(b"requests/s   5xx/s  site, by requests")
terminal.wait_for(b"\x1b[1;1H")
screen = terminal.wait_for(b"\x1b[1;1H")
assert b"\x1b[10;1H" in screen and b"\x1b[11;1H" not in screen, screen
os.write(terminal.master, b"s")
terminal.wait_for(b"site, by content")
if ending == "term":
    terminal.child.send_signal(signal.SIGTERM)
elif ending.startswith("hang:"):
    server = int(ending.split(":")[1])
    os.kill(server, signal.SIGSTOP)
    try:
        terminal.wait_for(b"NO ANSWER, tried again: nothing has co")
    finally:
        # Before it goes on, or a server that answers would be what ends it.
        os.write(terminal.master, b"q")
        terminal.child.wait(PATIENCE)
        os.kill(server, signal.SIGCONT)
elif ending.startswith("server:"):
    os.kill(int(ending.split(":")[1]), signal.SIGTERM)
    terminal.wait_for(b"NO ANSWER, tried again: no sitar")
    terminal.wait_for(b"NO ANSWER, tried again: no sitar")
    os.write(terminal.master, b"q")
else:
    os.write(terminal.master, {"q": b"q", "ctrl-c": b"\x03", "ctrl-d": b"\x04"}[ending])
terminal.assert_left()
print("left")
