# syntax=docker/dockerfile:1
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build

WORKDIR /src
COPY pyproject.toml README.md ./
RUN --mount=type=cache,target=/root/.cache \
    pip install --upgrade pip && \
    pip wheel --wheel-dir /wheels .

# What runs.
FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="shop" \
      maintainer="ops@shop.test"
ENV PYTHONUNBUFFERED=1 \
    PORT=8080
COPY --from=build --chown=1000:1000 /wheels /wheels
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl \
    && rm -rf /var/lib/apt/lists/*
RUN ["pip", "install", "--no-index", "/wheels/shop.whl"]
USER 1000
EXPOSE 8080/tcp
VOLUME ["/data"]
HEALTHCHECK --interval=30s CMD curl -f "http://localhost:${PORT}/" || exit 1
ENTRYPOINT ["shop", "serve"]
CMD ["--port", "8080"]
