# In place of `python:3.11-slim`: Debian's Python where that image has its own, and the wheels that pip would fetch.
FROM macaw-test/debian
COPY wheels /wheels
RUN ln -s /usr/bin/python3 /usr/local/bin/python \
 && printf '[global]\nno-index = true\nfind-links = /wheels\n' > /etc/pip.conf
CMD ["python"]
