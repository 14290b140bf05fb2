# syntax=docker/dockerfile:1
# Two stages: the toolchain builds, and what is left has one program, no shell and no root. Both bases are arguments, so that a
# release names them by digest (docs/kubernetes.md, "The image").
ARG BUILD_BASE=docker.io/library/rust:1.95-bookworm
ARG RUN_BASE=gcr.io/distroless/cc-debian12:nonroot

# Runs on the platform that is built for (buildx emulates the other one): aws-lc and mimalloc are C code.
FROM ${BUILD_BASE} AS build
ARG TARGETARCH
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY config config
COPY src src
COPY tests/bench/Cargo.toml tests/bench/
COPY tests/load/Cargo.toml tests/load/
# `cargo` reads the files of tests only when it builds them, but wants them to be there.
RUN mkdir -p tests/it tests/load/src && touch tests/it/main.rs tests/bench/lib.rs tests/bench/hot_paths.rs tests/load/src/main.rs
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,id=target-${TARGETARCH} \
    cargo build --release --locked --bin polylogue && install -D target/release/polylogue /out/polylogue

FROM ${RUN_BASE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="polylogue" \
      org.opencontainers.image.description="A chat service in which several LLM personas answer one user in parallel" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/polylogue /usr/bin/polylogue
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s --start-period=5s --retries=3 CMD ["/usr/bin/polylogue", "healthcheck"]
ENTRYPOINT ["/usr/bin/polylogue"]
# Other machines are meant to reach it. A configuration file says so itself: the chart replaces these arguments.
CMD ["serve", "--listen", "0.0.0.0:8080", "--management-listen", "0.0.0.0:9090"]
