# In place of `apache/kafka:4.3.1`: the same jars, the same user, folders and variables, another way of starting.
FROM macaw-test/debian
RUN useradd --uid 1000 --create-home --shell /bin/bash appuser \
 && mkdir -p /etc/kafka/docker /etc/kafka/secrets /mnt/shared/config /opt/kafka/bin /opt/kafka/config /var/lib/kafka/data
COPY libs /opt/kafka/libs
COPY run log4j2.yaml tools-log4j2.yaml server.properties /etc/kafka/docker/
COPY kafka-broker-api-versions.sh /opt/kafka/bin/
RUN chmod 0755 /etc/kafka/docker/run /opt/kafka/bin/kafka-broker-api-versions.sh \
 && chown -R appuser:appuser /etc/kafka /mnt/shared/config /opt/kafka /var/lib/kafka
USER appuser
EXPOSE 9092
VOLUME ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"]
CMD ["/etc/kafka/docker/run"]
