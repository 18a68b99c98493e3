"""A client by the standard library: python3 client.py SOCKET."""

import http.client
import json
import socket
import sys


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


connection = UnixConnection(sys.argv[1])
answers = []


def ask(method, path, body=None, headers={}, **options):
    connection.request(method, path, body=body, headers=headers, **options)
    answer = connection.getresponse()
    text = answer.read()
    answers.append({"status": answer.status, "body": json.loads(text) if text else None})


ask("GET", "/py/get", headers={"X-PV-Client": "evil", "X_PV_Role": "admin"})
ask("POST", "/py/post", body="x" * 100000)
ask("PUT", "/py/chunks", body=(b"%d" % number for number in range(50)), encode_chunked=True,
    headers={"Transfer-Encoding": "chunked"})
ask("HEAD", "/py/head")
ask("DELETE", "/py/last")
print(json.dumps(answers))
