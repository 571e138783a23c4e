#!/usr/bin/env python3
"""Measure ``frcnn serve`` beside single calls of the detector, and try to break it.

    python benchmarks/serving.py CHECKPOINT FOLDER [--requests 2000]

Prints the median and the 99th percentile of the latency in this process and over HTTP
with 1 to 8 clients at a time. Then sends requests of which a quarter is malformed: each
of those has to get a 4xx, each other one its detections, and the server's memory has to
stay where it is. The exit status is 1 if not.
"""

import argparse
import http.client
import itertools
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from faster_rcnn import Detector

PORT = 8765
JPEG = {"Content-Type": "image/jpeg"}
FORM = {"Content-Type": "multipart/form-data; boundary=part"}
CLIENTS = (1, 2, 4, 8)


def post(body, headers=JPEG, query="?score_threshold=0.5"):
    """Send one request; return status and seconds."""
    begun = time.perf_counter()
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
    link.request("POST", f"/detect{query}", body, headers)
    answer = link.getresponse()
    answer.read()
    link.close()
    return answer.status, time.perf_counter() - begun


def get(path):
    """Return the text of a route."""
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    link.request("GET", path)
    return link.getresponse().read().decode()


def start(checkpoint, precision):
    """Start the server, and wait until it is ready."""
    words = ["serve", str(checkpoint), "--port", str(PORT), "--precision", precision]
    server = subprocess.Popen([sys.executable, "-m", "faster_rcnn.cli", *words])
    while server.poll() is None:
        try:
            get("/health")
            return server
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def malformed(photo):
    """Requests that have to be refused: body, headers, query."""
    cut = photo[: len(photo) // 2]
    part = b"--part\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n"
    return (
        (b"", JPEG, ""),
        (b"no picture", JPEG, ""),
        (cut, JPEG, ""),
        (photo[:200] + bytes(400) + photo[600:1000], JPEG, ""),
        (b"GIF89a" + photo, JPEG, ""),
        (photo, FORM, ""),
        (part + cut + b"\r\n--part--\r\n", FORM, ""),
        (bytes(17 << 20), JPEG, ""),
        (photo, JPEG, "?score_threshold=many"),
    )


def memory(pid):
    """Resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line[:6] == "VmRSS:") >> 10


def show(name, seconds, wall, note=""):
    """Print a row of the table."""
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    print(
        f"{name:<24}{p50:9.0f}{p99:9.0f}{len(seconds) / wall:11.1f}  {note}", flush=True
    )


def endure(server, photos, count):
    """Send sound and malformed requests; return what went wrong."""
    bad = itertools.cycle(malformed(photos[0]))
    jobs = [
        (True, next(bad)) if i % 4 == 3 else (False, (photos[i % len(photos)],))
        for i in range(count)
    ]
    wrong, found, sizes = Counter(), Counter(), []
    with ThreadPoolExecutor(8) as pool:
        for i, (job, (status, _)) in enumerate(
            zip(jobs, pool.map(lambda job: post(*job[1]), jobs), strict=True)
        ):
            found[status] += 1
            if not (400 <= status < 500 if job[0] else status == 200):
                wrong[f"{'malformed' if job[0] else 'sound'}: {status}"] += 1
            if i % (count // 8) == 0:
                sizes.append(memory(server.pid))
    print(f"answers {dict(found)}, memory {sizes} MiB")
    if sizes[-1] > 1.1 * sizes[1]:
        wrong["memory grew"] += 1
    return wrong


def main():
    """Measure, then try to break it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path, help="JPEG photos")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--calls", type=int, default=60, help="of each measurement")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.jpg"))[: options.calls]
    photos = [path.read_bytes() for path in paths]
    print(f"{'ms':<24}{'p50':>9}{'p99':>9}{'images/s':>11}")
    detector = Detector.from_checkpoint(options.checkpoint, precision=options.precision)
    detector(paths[:4], batch_size=1)
    begun, seconds = time.perf_counter(), []
    for path in paths:
        before = time.perf_counter()
        detector(path, score_threshold=0.5)
        seconds.append(time.perf_counter() - before)
    show("single calls", seconds, time.perf_counter() - begun)
    server = start(options.checkpoint, options.precision)
    try:
        for clients in CLIENTS:
            before = get("/metrics")
            begun = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                answers = list(pool.map(post, photos * 2))
            wall = time.perf_counter() - begun
            assert {status for status, _ in answers} == {200}
            now = [_batches(text) for text in (before, get("/metrics"))]
            pictures, passes = np.subtract(now[1], now[0])
            note = f"{pictures / passes:.1f} pictures in a pass"
            show(f"server, {clients} at a time", [s for _, s in answers], wall, note)
        wrong = endure(server, photos, options.requests) if options.requests else {}
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait()
    print(f"wrong: {dict(wrong) or 'nothing'}; the server ended with {status}")
    sys.exit(bool(wrong) or status)


def _batches(text):
    """Pictures and passes so far."""
    lines = dict(line.split(" ") for line in text.splitlines() if line[0] != "#")
    return [float(lines[f"frcnn_batch_pictures_{end}"]) for end in ("sum", "count")]


if __name__ == "__main__":
    main()
