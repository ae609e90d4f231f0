# The image of the proxy: its runtime packages, its own code, nothing that builds.
# The Postgres is another container's; see compose.yaml.
# The newest Python for which every package of requirements.lock has wheels, on x86-64 and ARM:
# nothing is compiled here. A newer one needs a look at the wheels first.
ARG PYTHON_IMAGE=python:3.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# Packages first, so that a change of the code does not install them again. requirements.lock has
# parts: the first is what the proxy runs with, the second what its wheel is built with besides.
# It is whole, so that nothing is resolved.
COPY requirements.lock ./
RUN sed '/^# --- build ---$/,$d' requirements.lock > runtime.txt \
    && sed -n '/^# --- build ---$/,/^# --- embedded ---$/p' requirements.lock > build.txt \
    && python -m venv --without-pip /opt/tokenbalance \
    && python -m pip --python /opt/tokenbalance/bin/python install \
        --no-deps --require-hashes -r runtime.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/python -m pip install \
        --no-deps --require-hashes -r runtime.txt -r build.txt

COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY src src
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && python -m pip --python /opt/tokenbalance/bin/python install --no-deps wheels/*.whl


FROM ${PYTHON_IMAGE}
# The data folder is the one place that may be written to; the root file system can be read-only.
ENV PATH=/opt/tokenbalance/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json \
    TOKENBALANCE_DATA_DIR=/var/lib/tokenbalance
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/tokenbalance
COPY --from=builder /opt/tokenbalance /opt/tokenbalance
WORKDIR /var/lib/tokenbalance
VOLUME /var/lib/tokenbalance
USER 10001:10001
EXPOSE 8000

# /livez and not /readyz: without its database the proxy refuses requests, but streams that run
# go on, and must not be cut by a restart.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["tokenbalance"]
CMD ["serve"]
