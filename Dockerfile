# Two images: the server, and with `--target tensorflow` the server with TensorFlow, for models that the compiled engine
# does not support. Stages with compilers build the virtual environments; the images contain only those and the models.

FROM rust:1.90-bookworm AS rust

FROM python:3.11.13-bookworm AS build
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
WORKDIR /src
COPY constraints.txt pyproject.toml setup.py README.md LICENSE MANIFEST.in ./
COPY text_classifier text_classifier
COPY textmodel textmodel
COPY textfiles textfiles
COPY training training
COPY service service
COPY bulk bulk
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[server,otel]' \
    && cd / && /opt/venv/bin/python -c 'import textmodel._native, service.grpc._native_server'

FROM build AS build-tensorflow
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[server,otel,tensorflow]'

FROM python:3.11.13-slim-bookworm AS base
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin classifier
COPY models /models
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TEXT_CLASSIFIER_HOST=0.0.0.0 \
    TEXT_CLASSIFIER_METRICS_HOST=0.0.0.0 \
    TEXT_CLASSIFIER_MODELS=/models
USER 10001
EXPOSE 50051 8080 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "service.healthcheck"]
ENTRYPOINT ["text-classifier-server"]

FROM base AS tensorflow
COPY --from=build-tensorflow /opt/venv /opt/venv

# The last stage is the default target.
FROM base AS server
COPY --from=build /opt/venv /opt/venv
