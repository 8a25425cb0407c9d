# taskfault: one static program in an empty image.
#
#   make image                                         all of these, and the first with what old builders lose
#   docker build -t taskfault .                        the image to ship (no shell, no package)
#   docker build -t taskfault:debug --target debug .   the same program beside a shell, to look around
#   docker build -t taskfault:local --target local .   the local AWS, for deploy/compose; and the demo:
#
#   mkdir -p out && docker run --rm --user "$(id -u):$(id -g)" --security-opt seccomp=unconfined \
#     --security-opt systempaths=unconfined --security-opt apparmor=unconfined -v "$PWD/out:/out" taskfault:local demo
#
# The programs are built for the platform that the build runs on (amd64 or arm64), or for TARGET by a cross compiler.
# The program carries capabilities. BuildKit keeps them; the builder of Docker before 23 loses them when it copies the
# file, which `make image` makes up for. Without them the sidecar starts, and has no NET_ADMIN unless it is root.

# The toolchain.
ARG RUST=rust:1.95-bookworm

FROM ${RUST} AS sources
WORKDIR /src
ARG TARGET=
RUN echo "${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}" > /target
COPY . .

# The same tree with every source file empty: what the dependencies are built from, so that their layers are
# kept until a manifest changes.
FROM sources AS skeleton
RUN find . -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" > "$file"; done' _ {} +

FROM ${RUST} AS base
WORKDIR /src
COPY --from=skeleton /target /target
COPY --from=skeleton /src ./
# What builds for another platform (TARGET), as far as the toolchain lacks it.
RUN set -e; target=$(cat /target); arch=${target%%-*}; \
    if ! command -v "$arch-linux-gnu-gcc" > /dev/null; then \
        debian=$(echo "$arch" | sed 's/aarch64/arm64/; s/x86_64/amd64/'); \
        apt-get update -qq; \
        apt-get install -y -qq --no-install-recommends "gcc-$(echo "$arch" | tr _ -)-linux-gnu" "libc6-dev-$debian-cross"; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    [ -d "$(rustc --print target-libdir --target "$target")" ] || rustup target add "$target"
RUN cargo fetch --locked --target "$(cat /target)"

FROM base AS build
RUN scripts/image-program "$(cat /target)"
COPY --from=sources /src ./
# What --version says beside the version.
ARG COMMIT=
# The copied files may be older than what was just built from the empty ones. Not those that build scripts wrote below
# target: the packages that they belong to would be built again, and all that need them.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && TASKFAULT_COMMIT=$COMMIT scripts/image-program "$(cat /target)" \
    && scripts/image-files "target/$(cat /target)/image/taskfault" "$(cat /target)" /image

FROM scratch AS runtime
# Where it comes from: the commit and the repository.
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="taskfault" \
      org.opencontainers.image.description="In-task fault injection for Amazon ECS: takes AWS FIS experiments through Systems Manager and performs the faults itself" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.source=$SOURCE
COPY --from=build /image/taskfault /image/licences.txt /image/sbom.cdx.json /
# Registration and state. A volume begins as a copy of the folder, so it belongs to this user below a read-only root too;
# Fargate does so for folders that are declared here.
COPY --from=build --chown=65532:65532 /image/var/lib/amazon/ssm /var/lib/amazon/ssm
VOLUME ["/var/lib/amazon/ssm"]
# What it needs of root it has from its file, as far as the container has it.
USER 65532:65532
ENTRYPOINT ["/taskfault"]
CMD ["sidecar"]

# As root: who looks around wants to, and scripts of documents expect it.
FROM debian:bookworm-slim AS debug
LABEL org.opencontainers.image.title="taskfault (debug)"
COPY --from=build /image/taskfault /taskfault
ENTRYPOINT ["/taskfault"]
CMD ["sidecar"]

# Not what ships, so the quicker profile.
FROM base AS build-local
# A static program from the gnu target, as scripts/image-program has it.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --release --locked --package taskfault-local --target "$(cat /target)"
COPY --from=sources /src ./
ARG COMMIT=
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && TASKFAULT_COMMIT=$COMMIT cargo build --release --locked --package taskfault-local --target "$(cat /target)" \
    && install -D "target/$(cat /target)/release/taskfault-local" /image/taskfault-local \
    && mkdir /image/state \
    && mkdir -m 1777 /image/root /image/root/tmp /image/root/out

FROM scratch AS local
LABEL org.opencontainers.image.title="taskfault-local" \
      org.opencontainers.image.description="An AWS for the laptop: Systems Manager, FIS, ECS and CloudWatch as taskfault and the AWS CLI need them" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-local /image/taskfault-local /taskfault-local
# For --state, in the container's own layer: what it knows outlives a restart, and goes with the container.
COPY --from=build-local --chown=65532:65532 /image/state /state
# For `demo`, `up` and `run --with`: the sidecar beside it, a folder for what is temporary, and one for reports, which
# any user may write to.
COPY --from=build /image/taskfault /taskfault
COPY --from=build-local /image/root /
WORKDIR /out
USER 65532:65532
ENTRYPOINT ["/taskfault-local"]
CMD ["--listen", "0.0.0.0:4566", "--state", "/state/aws.json"]

# Without --target. An old builder builds every stage above the one that is asked for, so the local AWS stands below.
FROM runtime
