"""The other side of differential.rs: Python's h2 and hpack (Debian: python3-h2, python3-hpack)."""

import random
import struct
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack

NAMES = [b"accept", b"x-cookie", b"x-a", b"x-long-name-of-a-field", b"user-agent", b"if-none-match", b"priority"]
LETTERS = bytes(range(0x21, 0x7f))


def text(rng, most):
    return bytes(rng.choice(LETTERS) for _ in range(rng.choice([0, 1, 5, 20, most])))


def pairs(fields):
    return ",".join(f"{bytes(name).hex()}:{bytes(value).hex()}" for name, value in fields)


def encode(seed, count):
    """Header blocks of many connections, and what they mean."""
    rng = random.Random(seed)
    for _ in range(count):
        print("connection")
        encoder = hpack.Encoder()
        for _ in range(rng.randrange(1, 8)):
            if rng.randrange(4) == 0:
                encoder.header_table_size = rng.choice([0, 60, 256, 1000, 4096])
            fields = [(b":method", rng.choice([b"GET", b"HEAD"])), (b":path", b"/" + text(rng, 60))]
            fields += [(rng.choice(NAMES), text(rng, 300)) for _ in range(rng.randrange(12))]
            headers = [
                hpack.NeverIndexedHeaderTuple(*field) if rng.randrange(8) == 0 else hpack.HeaderTuple(*field)
                for field in fields
            ]
            block = encoder.encode(headers, huffman=rng.random() < 0.7)
            print(block.hex(), pairs(fields))


def decode():
    """Decodes blocks in hex, one a line; an empty line begins a new connection."""
    decoder = None
    for line in sys.stdin:
        line = line.strip()
        if not line:
            decoder = hpack.Decoder(max_header_list_size=1 << 24)
            continue
        try:
            print("ok", pairs(decoder.decode(bytes.fromhex(line), raw=True)))
        except (hpack.HPACKError, UnicodeDecodeError, IndexError):
            print("error")


def request(rng, client, stream):
    fields = [
        (b":method", rng.choice([b"GET", b"HEAD", b"POST"])),
        (b":scheme", b"https"),
        (b":path", b"/%d" % rng.choice([0, 1, 10, 1000, 20000, 70000])),
        (b":authority", b"example.org"),
    ]
    fields += [(rng.choice(NAMES[:-1]), text(rng, 200)) for _ in range(rng.randrange(5))]
    if rng.randrange(3) == 0:
        fields.append((b"priority", rng.choice([b"u=0", b"u=7, i", b"i", b"nonsense"])))
    body = fields[0][1] == b"POST"
    client.send_headers(stream, fields, end_stream=not body)
    return body


def streams(seed, count):
    """What clients send, as it is and with mistakes, and what h2's server makes of it."""
    rng = random.Random(seed)
    for nth in range(count):
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        client.initiate_connection()
        wire = client.data_to_send()
        frames = []
        for stream in range(1, 2 * rng.randrange(2, 8), 2):
            if request(rng, client, stream):
                for _ in range(rng.randrange(3)):
                    client.send_data(stream, b"x" * rng.choice([1, 100, 3000]), pad_length=rng.choice([None, 0, 20]))
                if rng.randrange(3) == 0:
                    client.send_headers(stream, [(b"trailer", b"1")], end_stream=True)
                elif rng.randrange(4):
                    client.end_stream(stream)
            what = rng.randrange(6)
            if what == 0:
                client.ping(b"12345678")
            elif what == 1:
                client.reset_stream(stream, 8)
            elif what == 2:
                client.increment_flow_control_window(rng.randrange(1, 1000), stream_id=None)
            elif what == 3:
                client.prioritize(stream, weight=10, depends_on=0)
            frames.append(client.data_to_send())
        kind = "valid" if nth % 4 == 0 else "mutated"
        if kind == "mutated":
            frames = mutate(rng, frames)
        wire = wire + b"".join(frames)
        print(kind, wire.hex(), *judged(wire))


def mutate(rng, frames):
    frames = list(frames)
    at = rng.randrange(len(frames))
    frame = bytearray(frames[at])
    what = rng.randrange(7)
    if what == 0:
        frames.insert(rng.randrange(len(frames) + 1), frames[at])
    elif what == 1 and len(frames) > 1:
        del frames[at]
    elif what == 2:
        other = rng.randrange(len(frames))
        frames[at], frames[other] = frames[other], frames[at]
    elif what == 3:
        frame[3] = rng.randrange(0, 11)
    elif what == 4:
        frame[4] ^= 1 << rng.choice([0, 2, 3, 5])
    elif what == 5:
        frame[5:9] = struct.pack("!I", rng.choice([0, 1, 2, 3, 5, 7, 1001]))
    else:
        for _ in range(rng.choice([1, 1, 3])):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
    if what >= 3:
        frames[at] = bytes(frame)
    return frames


def judged(wire):
    """Requests, the connection's error or `-`, streams reset."""
    config = h2.config.H2Configuration(client_side=False, header_encoding=None)
    server = h2.connection.H2Connection(config)
    server.initiate_connection()
    server.data_to_send()
    requests, resets, error = [], [], "-"
    try:
        for event in server.receive_data(wire):
            if isinstance(event, h2.events.RequestReceived):
                path = dict(event.headers).get(b":path", b"*")
                requests.append(f"{event.stream_id}:{path.hex()}")
            elif isinstance(event, h2.events.StreamReset) and not event.remote_reset:
                resets.append(str(event.stream_id))
    except h2.exceptions.ProtocolError as fault:
        code = int(getattr(fault, "error_code", h2.errors.ErrorCodes.PROTOCOL_ERROR))
        error = f"{code}:{fault}".replace(" ", "_")
    except Exception as fault:  # h2 has faults of its own on such input
        error = f"{type(fault).__name__}:{fault}".replace(" ", "_").replace("\n", "_")
    return ";".join(requests) or "-", error, ",".join(resets) or "-"


def content(stream, length):
    return bytes((stream + at) & 0xff for at in range(length))


def live(seed, count):
    """A client against the server under test, which answers `/N` with N bytes: pipes are the network."""
    rng = random.Random(seed)

    def exchange(wire):
        sys.stdout.buffer.write(struct.pack("!I", len(wire)) + wire)
        sys.stdout.buffer.flush()
        (length,) = struct.unpack("!I", sys.stdin.buffer.read(4))
        return sys.stdin.buffer.read(length)

    for _ in range(count):
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        codes = h2.settings.SettingCodes
        ours = {
            codes.INITIAL_WINDOW_SIZE: rng.choice([0, 1, 100, 65535, 1 << 20]),
            codes.HEADER_TABLE_SIZE: rng.choice([0, 4096, 8192]),
            codes.MAX_FRAME_SIZE: rng.choice([16384, 50000]),
            codes.ENABLE_PUSH: 0,
        }
        client.local_settings = h2.settings.Settings(client=True, initial_values=ours)
        client.initiate_connection()
        wanted, got, ended, stream, gone = {}, {}, set(), 1, set()
        todo, idle = rng.randrange(1, 12), 0
        while True:
            if todo and rng.randrange(2):
                todo -= 1
                length = rng.choice([0, 1, 1000, 16384, 70000, 200000])
                head = rng.randrange(6) == 0
                fields = [
                    (b":method", b"HEAD" if head else b"GET"),
                    (b":scheme", b"https"),
                    (b":path", b"/%d" % length),
                    (b":authority", b"a"),
                    (b"priority", rng.choice([b"u=1", b"u=5, i", b""])),
                ]
                client.send_headers(stream, fields, end_stream=True)
                wanted[stream], got[stream] = (0 if head else length, length), bytearray()
                stream += 2
            if wanted and rng.randrange(12) == 0:
                victim = rng.choice(list(wanted))
                if victim not in ended:
                    client.reset_stream(victim, 8)
                    del wanted[victim]
                    gone.add(victim)
            if rng.randrange(8) == 0:
                client.ping(b"abcdefgh")
            if rng.randrange(6) == 0 and not todo:
                client.update_settings({codes.INITIAL_WINDOW_SIZE: rng.choice([10, 70000, 1 << 20])})
            events = client.receive_data(exchange(client.data_to_send()))
            for event in events:
                if isinstance(event, h2.events.ResponseReceived) and event.stream_id in wanted:
                    headers = dict(event.headers)
                    assert headers[b":status"] == b"200", headers
                    assert int(headers[b"content-length"]) == wanted[event.stream_id][1], headers
                elif isinstance(event, h2.events.DataReceived):
                    if event.stream_id in wanted:
                        got[event.stream_id] += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    ended.add(event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    assert event.stream_id in gone, f"reset: {event}"
                assert not isinstance(event, h2.events.ConnectionTerminated), event
            # Windows that were opened for nothing are opened at last.
            idle = 0 if events else idle + 1
            if idle > 2:
                for open_stream in [number for number in wanted if number not in ended]:
                    client.increment_flow_control_window(rng.choice([1, 5000, 300000]), open_stream)
                if rng.randrange(2):
                    client.increment_flow_control_window(rng.choice([100, 300000]))
            assert idle < 400, f"stalled: {wanted} {ended}"
            if not todo and all(number in ended for number in wanted):
                break
        for number, (length, _) in wanted.items():
            assert bytes(got[number]) == content(number, length), number
        sys.stdout.buffer.write(b"\xff\xff\xff\xff")
        sys.stdout.buffer.flush()
    sys.stdout.buffer.write(b"\xff\xff\xff\xfe")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    mode, *numbers = sys.argv[1:]
    {"encode": encode, "decode": decode, "streams": streams, "live": live}[mode](*map(int, numbers))
