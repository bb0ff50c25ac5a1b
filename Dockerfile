# syntax=docker/dockerfile:1
# Sidestep as a small image: one static binary, no shell, a numeric user without rights. For amd64 and arm64:
#
#   docker build -t sidestep .
#   docker buildx build --platform linux/amd64,linux/arm64 -t sidestep .
#   docker run --rm -p 127.0.0.1:8787:8787 -v ./sidestep.toml:/etc/sidestep/sidestep.toml:ro sidestep

FROM rust:1.95-slim-bookworm AS build
# C sources of the TLS and compression libraries are compiled, too.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# Everything is linked in, the C library, too (its resolver reads /etc/hosts and asks DNS without plug-ins). A named
# target keeps that from what runs while building.
ENV RUSTFLAGS="-C target-feature=+crt-static"
# Such as otlp.
ARG FEATURES=""
RUN printf '#!/bin/sh\nexec cargo build --release --locked --features "$FEATURES" --target "$(rustc -vV | sed -n "s/^host: //p")"\n' \
      > /usr/local/bin/build && chmod +x /usr/local/bin/build
# The dependencies change seldom: their layer is built once, with an empty program.
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir -p src tests/it && echo 'fn main() {}' > src/main.rs && touch src/lib.rs tests/it/main.rs \
    && build && rm -rf src
# The repository is not here: --build-arg SIDESTEP_COMMIT=$(git rev-parse --short=12 HEAD),
# and SIDESTEP_VERSION for the label.
ARG SIDESTEP_COMMIT=unknown
COPY config/default.toml config/default.toml
COPY src src
RUN touch src/main.rs src/lib.rs && build && cp target/*/release/sidestep /sidestep
# The state folder, for an image that cannot make one.
RUN mkdir -p /state/sidestep

FROM gcr.io/distroless/static-debian12:nonroot
ARG SIDESTEP_COMMIT=unknown
ARG SIDESTEP_VERSION=unknown
LABEL org.opencontainers.image.title="Sidestep" \
      org.opencontainers.image.description="A local proxy that fronts several LLM backends behind one OpenAI-compatible Responses endpoint, and goes on to the next backend, inside the same request, when one fails." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$SIDESTEP_VERSION" \
      org.opencontainers.image.revision="$SIDESTEP_COMMIT"
COPY --from=build /sidestep /usr/local/bin/sidestep
COPY --from=build --chown=65532:65532 /state /var/lib
# Every address of the container, which needs [clients] with keys; or, with the port published on 127.0.0.1
# alone, SIDESTEP_SERVER__ALLOW_WITHOUT_KEY=true: whoever reaches it uses your credentials.
ENV SIDESTEP_CONFIG=/etc/sidestep/sidestep.toml \
    SIDESTEP_SERVER__LISTEN=0.0.0.0:8787 \
    XDG_STATE_HOME=/var/lib
USER 65532:65532
EXPOSE 8787
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/sidestep", "health"]
ENTRYPOINT ["/usr/local/bin/sidestep"]
CMD ["serve"]
