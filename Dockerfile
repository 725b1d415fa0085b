# Targets: serve (the default, because it is the last), gpu, train.
# BASE can be a mirror, or any other Debian image with Python 3.11 or later.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin pricecast
WORKDIR /srv/pricecast
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1

FROM base AS environment
RUN python3 -m venv --without-pip /opt/venv
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

FROM environment AS packages-to-serve
# `--build-arg REQUIREMENTS=otel` adds OpenTelemetry tracing.
ARG REQUIREMENTS=serve
COPY requirements/${REQUIREMENTS}.txt requirements.txt
RUN pip --python /opt/venv install --no-deps --require-hashes --requirement requirements.txt
# Remove 103 MB that serving never uses: the tests of the packages (60 MB), the ONNX Runtime library for C programs
# (35 MB), and tools that build and convert models (8 MB). If a later release needs one of them, the imports below fail
# the build.
RUN find /opt/venv -depth \( -type d -name tests -o -name 'libonnxruntime.so.*' \
        -o -path '*/onnxruntime/transformers' -o -path '*/onnxruntime/quantization' -o -path '*/onnxruntime/tools' \) \
        -exec rm -r {} + \
    && python -c 'import fastapi, onnxruntime, sklearn.preprocessing, uvicorn'

FROM environment AS packages-to-train
COPY requirements/train.txt .
RUN pip --python /opt/venv install --no-deps --require-hashes --requirement train.txt

FROM environment AS packages-for-gpu
COPY requirements/gpu.txt .
RUN pip --python /opt/venv install --no-deps --require-hashes --requirement gpu.txt

FROM base AS train
COPY --from=packages-to-train /opt/venv /opt/venv
COPY app app
COPY training training
RUN python3 -m compileall -q app training
# Matplotlib and Keras write caches to the home directory. /tmp is writable for every user, even on a read-only root.
ENV HOME=/tmp
USER 10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["train", "default"]

FROM base AS service-base
COPY app app
RUN python3 -m compileall -q app
COPY models models
ENV PRICECAST_HOST=0.0.0.0 PRICECAST_PORT=8000
USER 10001
EXPOSE 8000
# http.client ignores HTTP_PROXY, so the request always goes to this container.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --start-interval=1s \
    CMD ["python", "-c", "import http.client, os; \
c = http.client.HTTPConnection('127.0.0.1:' + os.environ['PRICECAST_PORT'], timeout=2); \
c.request('GET', '/health/ready'); exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "app"]

# For `docker run --gpus all`. Uses Keras if there is a GPU, and ONNX Runtime otherwise. Keras writes its configuration
# to the home directory.
FROM service-base AS gpu
ENV HOME=/tmp NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --link --from=packages-for-gpu /opt/venv /opt/venv

# --link makes the packages a layer of their own: a change of `app` neither rebuilds it nor uploads it again.
FROM service-base AS serve
COPY --link --from=packages-to-serve /opt/venv /opt/venv
