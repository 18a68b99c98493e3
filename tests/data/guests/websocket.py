"""A WebSocket server that echoes, its frames made by hand (RFC 6455): python3 websocket.py SOCKET."""

import base64
import hashlib
import os
import socketserver
import struct
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        fields = {}
        while line := self.rfile.readline().strip():
            name, value = line.decode("latin-1").split(":", 1)
            fields[name.lower()] = value.strip()
        key = fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.wfile.write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        # Who it is, as the first message.
        self.send(1, fields.get("x-pv-client", "nobody").encode())
        while head := self.rfile.read(2):
            length = head[1] & 127
            if length == 126:
                (length,) = struct.unpack(">H", self.rfile.read(2))
            mask = self.rfile.read(4)
            data = self.rfile.read(length)
            payload = bytes(byte ^ mask[at & 3] for at, byte in enumerate(data))
            self.send(head[0] & 15, payload)
            if head[0] & 15 == 8:
                return

    def send(self, opcode, payload):
        if len(payload) > 125:
            head = struct.pack(">BBH", 0x80 | opcode, 126, len(payload))
        else:
            head = bytes([0x80 | opcode, len(payload)])
        self.wfile.write(head + payload)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


path = sys.argv[1]
os.makedirs(os.path.dirname(path), exist_ok=True)
os.umask(0)
Server(path, Handler).serve_forever()
