# Targets: serve (the last, so the default), gpu, train.
# The base is an argument, so that a mirror or another Debian image with Python 3.11 or later can stand in.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin pricecast
WORKDIR /srv/pricecast
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1

FROM base AS environment
RUN python3 -m venv --without-pip /opt/venv
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

FROM environment AS packages-to-serve
# With `--build-arg REQUIREMENTS=otel` it can send traces as well.
ARG REQUIREMENTS=serve
COPY requirements/${REQUIREMENTS}.txt requirements.txt
RUN pip --python /opt/venv install --no-deps --require-hashes --requirement requirements.txt
# What serving never opens, 103 MB: the packages' own tests (60), ONNX Runtime for programs in C (35), which the one for
# Python does not use, and what makes and converts models (8). The imports fail here, not in service, if that changes.
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
# Whoever it runs as: Matplotlib and Keras keep a cache at home, and the root may be read-only.
ENV HOME=/tmp
USER 10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["train", "default"]

FROM base AS service
COPY app app
RUN python3 -m compileall -q app
COPY models models
ENV PRICECAST_HOST=0.0.0.0 PRICECAST_PORT=8000
USER 10001
EXPOSE 8000
# http.client, as it goes by no proxy, whatever HTTP_PROXY says.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --start-interval=1s \
    CMD ["python", "-c", "import http.client, os; \
c = http.client.HTTPConnection('127.0.0.1:' + os.environ['PRICECAST_PORT'], timeout=2); \
c.request('GET', '/health/ready'); exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "app"]

# `docker run --gpus all`: Keras where there is a GPU, otherwise as `serve`. Keras keeps its settings at home.
FROM service AS gpu
ENV HOME=/tmp NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --link --from=packages-for-gpu /opt/venv /opt/venv

# The packages come last, yet as a layer that stands alone: a change of `app` neither copies nor uploads them again.
FROM service AS serve
COPY --link --from=packages-to-serve /opt/venv /opt/venv
