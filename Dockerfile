# The program `macaw` with everything that a server needs: `docker build -t macaw .`, `docker run macaw --help`.
# Python is the version that the tests run on. Pin both stages by digest for production.
FROM python:3.11-slim AS build
WORKDIR /build
COPY . .
RUN python -m venv /opt/macaw && /opt/macaw/bin/pip install --no-cache-dir -c constraints.txt '.[server]'

FROM python:3.11-slim
# A fixed number, so that the owner of a volume's files is the same in every version of the image. The folders are made
# here because a new volume takes over their owner and mode: keys lie in them. The second is for a tool's home to be made,
# the third for archives.
RUN groupadd --gid 10001 macaw \
 && useradd --uid 10001 --gid macaw --no-create-home --home-dir /var/lib/macaw --shell /usr/sbin/nologin macaw \
 && install --directory --mode 0700 --owner macaw --group macaw /var/lib/macaw /var/lib/macaw-tool /var/lib/macaw-archive
COPY --from=build /opt/macaw /opt/macaw
ENV PATH=/opt/macaw/bin:$PATH \
    MACAW_HOME=/var/lib/macaw \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/macaw
ENTRYPOINT ["macaw"]
CMD ["--help"]
