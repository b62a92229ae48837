"""A chat room that gives each client a thread, in the manner of the well-known one.

Each thread waits for its client; what it receives it sends to everybody else, one
after the other, with the sender's address before it. It takes what one recv returns
for one message, whatever that is.
"""

import socket
import sys
import threading

clients = []
lock = threading.Lock()


def serve(client, address):
    client.sendall(b"Welcome to this chatroom!")
    while True:
        try:
            message = client.recv(2048)
        except OSError:
            message = b""
        if not message:
            break
        text = b"<" + address.encode() + b"> " + message
        with lock:
            others = [other for other in clients if other is not client]
        for other in others:
            try:
                other.sendall(text)
            except OSError:
                pass
    with lock:
        clients.remove(client)
    client.close()


def main():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen(100)
    threading.stack_size(256 * 1024)
    while True:
        client, (address, _) = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with lock:
            clients.append(client)
        threading.Thread(target=serve, args=(client, address), daemon=True).start()


main()
