# In place of `apicurio/apicurio-registry:3.0.9`: the same application, which is configured by the same variables.
FROM macaw-test/debian
RUN useradd --uid 1001 --create-home --shell /bin/bash registry
COPY registry /opt/registry
USER registry
WORKDIR /opt/registry
EXPOSE 8080
CMD ["sh", "-c", "exec java -Xmx512m -jar /opt/registry/*-runner.jar"]
