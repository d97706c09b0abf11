"""Decrypts what a server sends, record by record, with nothing of the server's own code, and counts nonces.

usage: nonces.py PORT CA_FILE 1.2|1.3 RECORDS KEYLOG_FILE

openssl's s_client asks for parts of /16k.bin, many requests at once, through a proxy that is slower than the server and that
decrypts with the secrets of the client's key log. In TLS 1.3 the keys are updated again and again, with answers on
their way. Prints how many records there were under how many keys.
"""

import fcntl
import hashlib
import hmac
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PORT, CA, VERSION, RECORDS, KEYLOG = sys.argv[1:]
BODY = bytes((at * 31 + at // 251) % 251 for at in range(4097))
# A request has 128 bytes, so that no piece that s_client reads begins with one of its command letters.
REQUEST = b"GET /16k.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-4096\r\nX: "
REQUEST += b"x" * (124 - len(REQUEST)) + b"\r\n\r\n"
BLOCK = 32
PATIENCE = 60


def hkdf_expand_label(secret, label, length):
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + b"\0"
    return hmac.new(secret, info + b"\1", hashlib.sha256).digest()[:length]


def prf(secret, seed, length):
    out, a = b"", seed
    while len(out) < length:
        a = hmac.new(secret, a, hashlib.sha256).digest()
        out += hmac.new(secret, a + seed, hashlib.sha256).digest()
    return out[:length]


def keylog():
    found = {}
    try:
        with open(KEYLOG) as lines:
            for line in lines:
                parts = line.split()
                if len(parts) == 3 and line.endswith("\n"):
                    found[parts[0]] = tuple(bytes.fromhex(part) for part in parts[1:])
    except FileNotFoundError:
        pass
    return found


class Decryptor:
    def __init__(self):
        self.wire = bytearray()
        self.aead = None
        self.seen = set()
        self.records = 0
        self.keys = 0
        self.answers = 0
        self.text = bytearray()
        self.random = None
        self.finished = False

    def key(self, key, iv):
        self.aead, self.iv, self.seq = AESGCM(key), iv, 0
        self.keys += 1

    def secret(self, secret):
        self.traffic = secret
        self.key(hkdf_expand_label(secret, b"key", 16), hkdf_expand_label(secret, b"iv", 12))

    def feed(self, data):
        self.wire += data
        at = 0
        while len(self.wire) - at >= 5:
            length = struct.unpack_from(">H", self.wire, at + 3)[0]
            if len(self.wire) - at < 5 + length:
                break
            record = bytes(self.wire[at : at + 5 + length])
            if not self.record(record[:5], record[5:]):
                break
            at += 5 + length
        del self.wire[:at]

    def record(self, header, body):
        """One record; False: the key log is not there yet."""
        if header[0] == 20:
            if VERSION == "1.2":
                secrets = keylog().get("CLIENT_RANDOM")
                if secrets is None:
                    return False
                block = prf(secrets[1], b"key expansion" + self.random + secrets[0], 40)
                self.key(block[16:32], block[36:40])
            return True
        if self.aead is None:
            if header[0] == 22 and self.random is None:
                self.random = body[6:38]
            if VERSION == "1.2" or header[0] == 22:
                return True
            secrets = keylog().get("SERVER_HANDSHAKE_TRAFFIC_SECRET")
            if secrets is None:
                return False
            self.secret(secrets[1])
        if self.finished and self.keys == 1 and VERSION == "1.3":
            secrets = keylog().get("SERVER_TRAFFIC_SECRET_0")
            if secrets is None:
                return False
            self.secret(secrets[1])
        if VERSION == "1.3":
            nonce = bytes(a ^ b for a, b in zip(self.iv, struct.pack(">4xQ", self.seq)))
            inner = self.aead.decrypt(nonce, body, header).rstrip(b"\0")
            kind, plain = inner[-1], inner[:-1]
        else:
            nonce = self.iv + body[:8]
            aad = struct.pack(">Q", self.seq) + header[:3] + struct.pack(">H", len(body) - 24)
            kind, plain = header[0], self.aead.decrypt(nonce, body[8:], aad)
        assert (self.keys, nonce) not in self.seen, "a nonce was used twice"
        self.seen.add((self.keys, nonce))
        self.seq += 1
        self.records += 1
        if kind == 23:
            self.understand(plain)
        elif kind == 22 and not self.finished:
            # The server's flight ends with its Finished, which is a record of its own or the end of one.
            if VERSION == "1.2" or plain[-36:-32] == b"\x14\0\0\x20":
                self.finished = True
        elif kind == 22 and plain[0] == 24:
            assert plain == b"\x18\0\0\1\0", plain
            self.secret(hkdf_expand_label(self.traffic, b"traffic upd", 32))
        return True

    def understand(self, plain):
        self.text += plain
        while True:
            end = self.text.find(b"\r\n\r\n")
            if end < 0 or len(self.text) < end + 4 + len(BODY):
                return
            assert self.text.startswith(b"HTTP/1.1 206 "), bytes(self.text[:end])
            assert self.text[end + 4 : end + 4 + len(BODY)] == BODY, "another body"
            del self.text[: end + 4 + len(BODY)]
            self.answers += 1


decryptor = Decryptor()
failure = []


def pump(source, sink, see):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
            see(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    except BaseException as error:
        failure.append(error)
        source.close()
        raise


def proxy(listener):
    client, _ = listener.accept()
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    server.connect(("127.0.0.1", int(PORT)))
    for args in [(client, server, len), (server, client, decryptor.feed)]:
        threading.Thread(target=pump, args=args, daemon=True).start()


def wait_for(what, done):
    until = time.monotonic() + PATIENCE
    while not done():
        assert not failure and time.monotonic() < until, (what, failure, decryptor.answers, decryptor.records)
        time.sleep(0.002)


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=proxy, args=(listener,), daemon=True).start()
command = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % listener.getsockname()[1], "-CAfile", CA]
command += ["-verify_return_error", "-keylogfile", KEYLOG]
if VERSION == "1.3":
    command += ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"]
else:
    command += ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]
client = subprocess.Popen(
    command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0
)
pipe = client.stdin.fileno()
drained = lambda: struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0] == 0
asked = 0
while decryptor.records < int(RECORDS):
    for _ in range(40):
        os.write(pipe, REQUEST * BLOCK)
        asked += BLOCK
    wait_for("requests to be sent", drained)
    if VERSION == "1.3":
        # Answers are still on their way.
        os.write(pipe, b"K\n")
        wait_for("the key update to be sent", drained)
    wait_for("answers", lambda: asked - decryptor.answers < 400)
wait_for("the last answers", lambda: decryptor.answers == asked)
client.kill()
client.wait()
print("TLS %s: %d records, %d keys, %d answers" % (VERSION, decryptor.records, decryptor.keys, decryptor.answers))
