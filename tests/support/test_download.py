"""A download is whole or not there; one that broke off goes on."""

import functools
import hashlib
import http.server
import socket
import threading
from pathlib import Path

import pytest

from desdis_match.errors import InputError
from desdis_match.support.download import download

CONTENT = bytes(range(256)) * 40


class Server(http.server.BaseHTTPRequestHandler):
    """Sends `most` bytes a request though it promises all; takes ranges or not."""

    asked: list  # Range headers

    def __init__(self, asked, most, ranges, *arguments):
        self.asked, self.most, self.ranges = asked, most, ranges
        super().__init__(*arguments)

    def do_GET(self):
        where = self.headers.get("Range")
        self.asked.append(where)
        begin = int(where.removeprefix("bytes=").removesuffix("-")) if where and self.ranges else 0
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        self.wfile.write(CONTENT[begin : begin + self.most])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """serve(most, ranges) -> (address, what was asked)."""
    servers = []

    def start(most: int = len(CONTENT), ranges: bool = True):
        asked: list = []
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Server, asked, most, ranges)
        )
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/file", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_it_goes_on_where_it_broke_off(serve, tmp_path):
    address, asked = serve(most=4000)
    target = tmp_path / "a" / "file"
    for _ in range(2):
        with pytest.raises(InputError, match="broke off"):
            download(address, target, goes_on=True)
        assert not target.exists()
    download(address, target, hashlib.sha256(CONTENT).hexdigest(), goes_on=True)
    assert target.read_bytes() == CONTENT
    assert asked == [None, "bytes=4000-", "bytes=8000-"]
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_server_without_ranges_sends_all_again(serve, tmp_path):
    address, _ = serve(ranges=False)
    (tmp_path / "file.partial").write_bytes(b"begun")
    download(address, tmp_path / "file", goes_on=True)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_what_was_whole_already_is_put_in_place(serve, tmp_path):
    address, _ = serve()
    (tmp_path / "file.partial").write_bytes(CONTENT)
    download(address, tmp_path / "file", goes_on=True)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_otherwise_nothing_is_left_of_it(serve, tmp_path):
    address, _ = serve(most=4000)
    with pytest.raises(InputError, match="broke off"):
        download(address, tmp_path / "file")
    address, _ = serve()
    with pytest.raises(InputError, match=r"is not the published file \(sha256"):
        download(address, tmp_path / "file", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_who_does_not_answer_is_named_with_the_file_and_its_place(tmp_path):
    target: Path = tmp_path / "file"
    with pytest.raises(InputError) as error:
        download("http://127.0.0.1:9/file", target)
    assert "fetch http://127.0.0.1:9/file elsewhere" in str(error.value) and str(target) in str(error.value)
    with pytest.raises(InputError, match="could not be downloaded"):
        download("no address", target)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"\x00\x01\x02" * 500,
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: gopher://x/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::bad/\r\n\r\n",
    ],
)
def test_answers_that_are_no_http_are_a_sentence(answer, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(InputError, match=r"could not be downloaded|broke off"):
            download(f"http://127.0.0.1:{listener.getsockname()[1]}/file", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_is_no_number_is_passed_over(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\nwhole")

        threading.Thread(target=serve, daemon=True).start()
        download(f"http://127.0.0.1:{listener.getsockname()[1]}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"whole"
