# taskfault: one static program in an empty image.
#
#   docker build -t taskfault .                        the image to ship (no shell, no package, 1 file)
#   docker build -t taskfault:debug --target debug .   the same program beside a shell, to look around
#   docker build -t taskfault:local --target local .   the local AWS, for deploy/compose
#
# The programs are built for the platform that the build runs on (amd64 or arm64).

FROM rust:1.95-bookworm AS sources
WORKDIR /src
# A static program from the gnu target: no musl, and names are resolved by glibc's own code.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN rustc -vV | sed -n 's/^host: //p' > /target
COPY . .

# The same tree with every source file empty: what the dependencies are built from, so that their layers are
# kept until a manifest changes.
FROM sources AS skeleton
RUN find . -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" > "$file"; done' _ {} +

FROM rust:1.95-bookworm AS base
WORKDIR /src
ENV RUSTFLAGS="-C target-feature=+crt-static"
COPY --from=skeleton /target /target
COPY --from=skeleton /src ./
RUN cargo fetch --locked --target "$(cat /target)"

FROM base AS build
RUN scripts/image-program "$(cat /target)"
COPY --from=sources /src ./
# What --version says beside the version.
ARG COMMIT=
# The copied files may be older than what was just built from the empty ones.
RUN find . -name '*.rs' -exec touch {} + \
    && TASKFAULT_COMMIT=$COMMIT scripts/image-program "$(cat /target)" \
    && install -D "target/$(cat /target)/image/taskfault" /image/taskfault

# Not what ships, so the quicker profile.
FROM base AS build-local
RUN cargo build --release --locked --package taskfault-local --target "$(cat /target)"
COPY --from=sources /src ./
ARG COMMIT=
RUN find . -name '*.rs' -exec touch {} + \
    && TASKFAULT_COMMIT=$COMMIT cargo build --release --locked --package taskfault-local --target "$(cat /target)" \
    && install -D "target/$(cat /target)/release/taskfault-local" /image/taskfault-local \
    && mkdir /image/state

FROM scratch AS local
LABEL org.opencontainers.image.title="taskfault-local" \
      org.opencontainers.image.description="An AWS for the laptop: Systems Manager, FIS, ECS and CloudWatch as taskfault and the AWS CLI need them" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-local /image/taskfault-local /taskfault-local
# For --state, in the container's own layer: what it knows outlives a restart, and goes with the container.
COPY --from=build-local --chown=65532:65532 /image/state /state
USER 65532:65532
ENTRYPOINT ["/taskfault-local"]
CMD ["--listen", "0.0.0.0:4566", "--state", "/state/aws.json"]

FROM debian:bookworm-slim AS debug
LABEL org.opencontainers.image.title="taskfault (debug)"
COPY --from=build /image/taskfault /taskfault
ENTRYPOINT ["/taskfault"]
CMD ["sidecar"]

FROM scratch AS runtime
LABEL org.opencontainers.image.title="taskfault" \
      org.opencontainers.image.description="In-task fault injection for Amazon ECS: takes AWS FIS experiments through Systems Manager and performs the faults itself" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/taskfault /taskfault
# Root: registration and state lie below /var/lib, and NET_ADMIN is of use to root alone.
USER 0:0
ENTRYPOINT ["/taskfault"]
CMD ["sidecar"]
