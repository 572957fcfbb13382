"""The server: what it hands out is the lattice; whatever else is asked for is refused with a sentence; pages in a browser."""

import contextlib
import http.client
import io
import json
import random
import socket
import threading
from urllib.parse import urlencode

import numpy as np
import pytest

from ising_rg import Lattice
from ising_rg.base.errors import UserError
from ising_rg.exploring.atlases import Atlases
from ising_rg.exploring.server import Server, loopback

KERNEL, START, STAGES = "models/conditional_k5_s3.pt", 64, 9
L = START * 3**STAGES


@contextlib.contextmanager
def serving(seed=1, xi="critical", stages=STAGES, start=START, address=("127.0.0.1", 0)):
    """Yield a Server that answers."""
    told = {"START_SIZE": start, "STAGES": stages, "KERNEL_FILE": "conditional_k5_s3.pt"}
    server = Server(address, Atlases(2**25, stages, start, KERNEL), (seed, xi), told)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def server():
    with serving() as one:
        yield one


def get(server, path, headers=None, method="GET", **numbers):
    """Return (status, body, headers)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path + ("?" + urlencode(numbers) if numbers else ""), headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def test_the_page_and_its_files(server):
    status, body, headers = get(server, "/")
    assert status == 200 and b"not the" in body and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in headers["Content-Security-Policy"] and "Server" not in body.decode()
    for path in ("/page.js", "/panels.js", "/page.css", "/viewer.js", "/viewer.css", "/openseadragon.js"):
        assert path.encode() in body
        assert get(server, path)[0] == 200


def test_facts(server):
    facts = json.loads(get(server, "/lattice")[1])
    assert facts["seed"] == "1" and facts["xi"] == "critical" and facts["L"] == L and len(facts["levels"]) == STAGES + 1
    largest = json.loads(get(server, "/lattice", seed=2**64 - 1, xi="-1e3")[1])
    assert largest["seed"] == str(2**64 - 1) and largest["xi"] == -1000 and largest["levels"][0]["block"] > 1


def test_spins_are_those_of_the_lattice(server):
    """In bands, of any stage, across a seam; the JSON is one that checking.py takes."""
    place = {"level": STAGES, "row": 7000, "column": 31, "height": 90, "width": 133}
    status, body, headers = get(server, "/spins.npy", **place, seed=7)
    expected = Lattice(7, STAGES, START)[7000:7090, 31:164]
    saved = io.BytesIO()
    np.save(saved, expected)
    assert status == 200 and body == saved.getvalue() and headers["Content-Disposition"].startswith("attachment")
    about = json.loads(get(server, "/spins.json", **place, seed=7)[1])
    assert about["window"] == [7000, 31, 90, 133] and about["torus"] == L and about["seed"] == 7
    assert about["settings"]["KERNEL_FILE"] == "conditional_k5_s3.pt"
    lattice = eval(about["python"], {"Lattice": Lattice})
    assert np.array_equal(lattice[7000:7090, 31:164], expected)

    across = {"level": 4, "row": START * 81 - 10, "column": START * 81 - 20, "height": 30, "width": 50}
    got = np.load(io.BytesIO(get(server, "/spins.npy", **across, seed=7)[1]))
    stage = Lattice(7, STAGES, START).stage(4)
    assert np.array_equal(got[:10, :20], stage[-10:, -20:]) and np.array_equal(got[10:, 20:], stage[:20, :30])


def test_many_bands_make_one_file(server, monkeypatch):
    monkeypatch.setattr("ising_rg.exploring.server._BAND_SITES", 1000)
    got = np.load(io.BytesIO(get(server, "/spins.npy", level=5, row=3, column=5, height=64, width=200)[1]))
    assert np.array_equal(got, Lattice(1, STAGES, START).stage(5)[3:67, 5:205])


TILE = {"level": 3, "x": 0, "y": 0}
WINDOW = {"level": 3, "row": 0, "column": 0, "height": 20, "width": 20}


@pytest.mark.parametrize(
    "path, numbers, says",
    [
        ("/tile", TILE | {"x": 4}, "needed 0 to 3"),
        ("/tile", TILE | {"level": STAGES + 1}, f"needed 0 to {STAGES}"),
        ("/tile", TILE | {"x": 10**30}, "at most 20 digits"),
        ("/tile", TILE | {"x": -1}, "whole number"),
        ("/tile", TILE | {"x": "1.5"}, "whole number"),
        ("/tile", TILE | {"x": "٣"}, "whole number"),
        ("/tile", TILE | {"x": ""}, "whole number"),
        ("/tile", {"level": 3}, "needed seed, xi, level, x, y"),
        ("/tile", TILE | {"z": 1}, "needed seed, xi, level, x, y"),
        ("/tile", TILE | {"seed": 2**64}, "2^64 - 1"),
        ("/tile", TILE | {"xi": "warm"}, "a correlation length"),
        ("/tile", TILE | {"xi": "nan"}, "a correlation length"),
        ("/tile", TILE | {"xi": 0}, "a correlation length"),
        ("/tile", TILE | {"xi": ""}, "a correlation length"),
        ("/spins.npy", WINDOW | {"row": START * 27}, f"needed 0 to {START * 27 - 1}"),
        ("/spins.npy", WINDOW | {"height": 0}, "height: found 0"),
        ("/spins.npy", WINDOW | {"level": STAGES, "width": 8193}, "needed 1 to 8192"),
        ("/spins.npy", WINDOW | {"level": 0, "width": 65}, "needed 1 to 64"),
        ("/spins.npy", WINDOW | {"level": 0, "xi": 100}, "zoom in"),
        ("/spins.json", WINDOW | {"level": 0, "xi": 100}, "zoom in"),
        ("/curve", WINDOW | {"height": 15}, "needed 16"),
        ("/curve", WINDOW | {"level": 0, "xi": 100}, "zoom in"),
    ],
)
def test_what_is_refused(server, path, numbers, says):
    status, body, headers = get(server, path, **numbers)
    assert status == 400 and says in body.decode() and body.decode().endswith(".")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "path, status",
    [
        ("/etc/passwd", 404),
        ("/../exploring.py", 404),
        ("/page.html", 404),
        ("/tile/", 404),
        ("//[", 404),
        ("http://a/b", 403),
    ],
)
def test_other_paths(server, path, status):
    assert get(server, path)[0] == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.com"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Origin": "http://example.com"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_foreign_senders(server, headers):
    headers = {name: value.format(port=server.port) for name, value in headers.items()}
    for path in ("/", "/lattice"):
        status, body, _ = get(server, path, headers)
        assert status == 403 and b"request" in body


def test_own_senders(server):
    port = server.port
    for headers in (
        {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"},
        {"Host": f"127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},  # a link to the page
    ):
        assert get(server, "/", headers)[0] == 200
    assert get(server, "/", method="POST")[0] == 501 and get(server, "/", method="BREW")[0] == 501


def test_a_thousand_bad_requests(server, capfd):
    """Random paths, names and numbers: refused, or answered if they happen to be good; the server says nothing and goes on."""
    rng, statuses = random.Random(1), set()
    values = [
        "",
        "0",
        "1",
        "-1",
        "1e3",
        "10" * 15,
        "nan",
        "critical",
        "../..",
        "%00",
        "<script>",
        "\u0663",
        "x" * 3000,
        "3",
    ]
    names = ["seed", "xi", "level", "x", "y", "row", "column", "height", "width", "z", ""]
    paths = [
        "/tile",
        "/lattice",
        "/spins.npy",
        "/spins.json",
        "/curve",
        "/../..",
        "/tile/../etc",
        "/%2e%2e/x",
        "/spins",
        "/_tile",
    ]
    for number in range(1000):
        chosen = [(rng.choice(names), rng.choice(values)) for _ in range(rng.randrange(9))]
        if number % 2:  # close to good ones
            chosen = [(name, rng.choice(values + ["0", "1", "2"] * 4)) for name in rng.choice((TILE, WINDOW))]
        query = urlencode(chosen, safe="%" if rng.random() < 0.5 else "")
        status, body, _ = get(server, f"{rng.choice(paths)}?{query}")
        statuses.add(status)
        assert status in (200, 400, 404), (status, query)
        if status != 200:
            text = body.decode()
            assert "/" not in text and "Traceback" not in text and "<" not in text and len(text) < 300, text
    assert statuses == {200, 400, 404}
    for line in (
        b"GET\r\n\r\n",
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(line)
            assert b"200" not in raw.recv(100)
    assert get(server, "/lattice")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_nobody_waits_any_more(server):
    """A request whose browser goes away while another is drawn is not drawn."""
    with server.atlases.turns.turn():
        raw = socket.create_connection(("127.0.0.1", server.port))
        raw.sendall(f"GET /tile?level=9&x=77&y=78 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        while not server.atlases.turns._waiting:
            pass
        raw.close()
    assert get(server, "/tile", level=0, x=0, y=0)[0] == 200
    assert (1, "critical", 9, 77, 78) not in server.atlases._tiles


def test_where_it_listens():
    with pytest.raises(UserError, match="LISTEN, PORT"):
        Server(("203.0.113.1", 0), None, (1, "critical"), {})
    with pytest.raises(UserError, match="needed an IP address"):
        Server(("no such host", 0), None, (1, "critical"), {})
    assert loopback("127.0.0.1") and loopback("::1") and loopback("localhost") and not loopback("0.0.0.0")
    with serving(address=("0.0.0.0", 0)) as one:
        assert one.is_own(f"192.0.2.7:{one.port}") and not one.is_own(f"example.com:{one.port}")


def test_two_at_once(server):
    """Two pages with different lattices get their own tiles, whatever the order."""
    expected = {seed: get(server, "/tile", seed=seed, level=9, x=3, y=4)[1] for seed in (11, 12)}
    found = {11: [], 12: []}

    def look(seed):
        for x in (3, 5, 3, 6, 3):
            found[seed].append((x, get(server, "/tile", seed=seed, level=9, x=x, y=4)[1]))

    threads = [threading.Thread(target=look, args=(seed,)) for seed in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, tiles in found.items():
        assert all(tile == expected[seed] for x, tile in tiles if x == 3)
    assert expected[11] != expected[12]
