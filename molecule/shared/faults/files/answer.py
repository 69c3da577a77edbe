"""Answer each connection on a port with fixed bytes, as a program in the server's place does: answer.py PORT refusal|banner."""

import socketserver
import sys

ANSWERS = {
    "refusal": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nConnection: close\r\n\r\nForbidden",
    "banner": b"SSH-2.0-OpenSSH_9.2\r\n",
}
PORT, ANSWER = int(sys.argv[1]), ANSWERS[sys.argv[2]]


class Handler(socketserver.BaseRequestHandler):
    """Read a request, and answer it."""

    def handle(self) -> None:
        """Answer once the request is read: unread bytes would reset the connection."""
        self.request.recv(65536)
        self.request.sendall(ANSWER)


class Server(socketserver.ThreadingTCPServer):
    """A server whose port is free again at once."""

    allow_reuse_address = True


Server(("", PORT), Handler).serve_forever()
