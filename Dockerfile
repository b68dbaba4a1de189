# Images of the servers and of the command: one static binary each, on nothing; and of the pods of Gateways.
#
#   docker build --target extauth -t waykeeper/extauth .
#
# Targets: extauth, ratelimit, waypoint, proxy (the pods of Gateways: an Envoy, and what starts it), waykeeper (the last
# and the default).
# PROFILE=dist is the profile to ship; PROFILE=dev builds in a fraction of the time.

FROM rust:1.95-bookworm AS build
ARG PROFILE=dist
ARG TARGETARCH
WORKDIR /src
COPY . .
# Static, with glibc's own startup: no libraries, no loader, no shell is needed to
# run it. The target is named so that build scripts and macros are built as usual.
# The caches outlive the layer: after a change of code only our crates are built again.
# All of ours, whatever their times say: those are of a checkout, not of the last build.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=waykeeper-target-$TARGETARCH-$PROFILE,target=/src/target,sharing=locked \
    set -eu; \
    case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
      amd64) target=x86_64-unknown-linux-gnu ;; \
      arm64) target=aarch64-unknown-linux-gnu ;; \
      *) echo "no build for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    mkdir -p tests/src && touch tests/src/lib.rs; \
    find . -path ./target -prune -o -name '*.rs' -exec touch {} +; \
    RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols --remap-path-prefix=/src=." CARGO_INCREMENTAL=0 \
      cargo build --locked --target "$target" --profile "$PROFILE" \
        -p extauth -p ratelimit -p waypoint -p waykeeper --bins; \
    folder=$PROFILE; [ "$PROFILE" != dev ] || folder=debug; \
    mkdir -p /out/bin; \
    for name in extauth ratelimit waypoint waykeeper; do \
      cp "target/$target/$folder/$name" /out/bin/; \
    done
# What every image holds besides its binary: authorities to trust, and folders that
# volumes take their owner from.
RUN mkdir -p /out/root/etc/ssl/certs /out/root/var/lib/waykeeper /out/root/etc/waykeeper \
 && cp /etc/ssl/certs/ca-certificates.crt /out/root/etc/ssl/certs/ \
 && install -d -m 0700 -o 65532 -g 65532 /out/root/var/lib/waykeeper/tls \
      /out/root/var/lib/waykeeper/envoy /out/root/var/lib/waykeeper/server /out/root/var/lib/waykeeper/ca

FROM scratch AS base
COPY --from=build /out/root /
USER 65532:65532
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="Waykeeper" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM base AS extauth
COPY --from=build /out/bin/extauth /extauth
LABEL org.opencontainers.image.title="extauth" \
      org.opencontainers.image.description="Answers Envoy's external authorization checks from AuthConfigs and Secrets"
EXPOSE 8083 9091
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/extauth", "health"]
ENTRYPOINT ["/extauth"]

FROM base AS ratelimit
COPY --from=build /out/bin/ratelimit /ratelimit
LABEL org.opencontainers.image.title="ratelimit" \
      org.opencontainers.image.description="Answers Envoy's rate-limit requests from RateLimitConfigs"
EXPOSE 8081 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/ratelimit", "health"]
ENTRYPOINT ["/ratelimit"]

FROM base AS waypoint
COPY --from=build /out/bin/waypoint /waypoint
LABEL org.opencontainers.image.title="waypoint" \
      org.opencontainers.image.description="Tells the Envoys of Gateways what to do, from Kubernetes resources"
EXPOSE 9977 9979
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/waypoint", "health"]
ENTRYPOINT ["/waypoint"]

# `waypoint proxy` beside Envoy's official image: what `waypoint --deploy` runs for each Gateway.
FROM envoyproxy/envoy:v1.40.0 AS proxy
COPY --from=build /out/bin/waypoint /waypoint
USER 65532:65532
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="Waykeeper" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.title="proxy" \
      org.opencontainers.image.description="An Envoy of a Gateway, and the process that starts, watches and drains it"
EXPOSE 15021 15088
ENTRYPOINT ["/waypoint"]
CMD ["proxy"]

FROM base AS waykeeper
COPY --from=build /out/bin/waykeeper /waykeeper
LABEL org.opencontainers.image.title="waykeeper" \
      org.opencontainers.image.description="Run, inspect and explain a waypoint with external auth and rate limits"
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/waykeeper", "health"]
ENTRYPOINT ["/waykeeper"]
