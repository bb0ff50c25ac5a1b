# syntax=docker/dockerfile:1
# Sidestep as a small image: one binary, no shell, a numeric user without rights.
#
#   docker build -t sidestep .
#   docker run --rm -p 127.0.0.1:8787:8787 -v ./sidestep.toml:/etc/sidestep/sidestep.toml:ro sidestep

FROM rust:1.95-slim-bookworm AS build
# C sources of the TLS and compression libraries are compiled, too.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies change seldom: their layer is built once, with an empty program.
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir -p src tests/it && echo 'fn main() {}' > src/main.rs && touch src/lib.rs tests/it/main.rs \
    && cargo build --release --locked \
    && rm -rf src
# The repository is not here: --build-arg SIDESTEP_COMMIT=$(git rev-parse --short=12 HEAD)
ARG SIDESTEP_COMMIT=unknown
COPY config/default.toml config/default.toml
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked
# The state folder, for an image that cannot make one.
RUN mkdir -p /state/sidestep

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Sidestep" \
      org.opencontainers.image.description="A local proxy that fronts several LLM backends behind one OpenAI-compatible Responses endpoint, and goes on to the next backend, inside the same request, when one fails." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /build/target/release/sidestep /usr/local/bin/sidestep
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
