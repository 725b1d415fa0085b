# The base is an argument, so that a mirror or another Debian image with Python 3.11 or later can stand in.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
RUN python3 -m venv /opt/venv
COPY requirements/serve.txt /tmp/serve.txt
RUN /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --requirement /tmp/serve.txt \
    && /opt/venv/bin/python -m pip uninstall --yes --quiet pip setuptools

FROM ${BASE} AS serve
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin pricecast
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /srv/pricecast
COPY app app
RUN /opt/venv/bin/python -m compileall -q app
COPY models models
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PRICECAST_HOST=0.0.0.0 PRICECAST_PORT=8000
USER pricecast
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --start-interval=1s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
CMD ["python", "-m", "app"]
