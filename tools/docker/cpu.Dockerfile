# `frcnn serve` on a CPU. Build in the root of the repository:
#   docker build -f tools/docker/cpu.Dockerfile -t frcnn-cpu .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/detector.pth:/detector.pth:ro" frcnn-cpu
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir torch torchvision \
        --index-url https://download.pytorch.org/whl/cpu \
    && /venv/bin/pip install --no-cache-dir "/source[serve]"

FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home frcnn
COPY --from=build /venv /venv
USER frcnn
WORKDIR /home/frcnn
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["/venv/bin/python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=2)"]
# Inside the container all addresses are its own; -p decides who reaches it.
ENTRYPOINT ["/venv/bin/frcnn", "serve", "--host", "0.0.0.0"]
CMD ["/detector.pth"]
