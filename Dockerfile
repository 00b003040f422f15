# syntax=docker/dockerfile:1
#
#   docker build -t riskstream .
#   docker build -t riskstream:gpu --build-arg EXTRAS=gpu .     then run it with --gpus all
#   docker run -e RISKSTREAM_BROKER__BOOTSTRAP=… -e RISKSTREAM_STATE__URL=… riskstream

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
RUN python -m venv /opt/riskstream
COPY pyproject.toml README.md LICENSE ./
COPY engine/ engine/
COPY models/ models/
COPY export/ export/
COPY streams/ streams/
COPY riskstream/ riskstream/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheels .
ARG EXTRAS=""
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/riskstream/bin/pip install "$(ls /wheels/riskstream-*.whl)${EXTRAS:+[${EXTRAS}]}"

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="riskstream" \
      org.opencontainers.image.description="Scores financial events for risk while they flow" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin riskstream \
    && install -d -o riskstream -g riskstream /bundles
COPY --from=build /opt/riskstream /opt/riskstream
COPY config/production.toml /etc/riskstream/riskstream.toml
# ONNX Runtime tells its makers about models and sessions unless it is told not to.
ENV ORT_DISABLE_TELEMETRY=1 \
    PATH=/opt/riskstream/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER riskstream
WORKDIR /tmp
VOLUME ["/bundles"]
EXPOSE 6066
STOPSIGNAL SIGTERM
# Without a proxy, whatever the environment says: the address is the container's own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:6066/healthz', timeout=3)"]
ENTRYPOINT ["riskstream"]
CMD ["worker", "--config", "/etc/riskstream/riskstream.toml"]
