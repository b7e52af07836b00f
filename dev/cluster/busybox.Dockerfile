# What holds the network of every pod (Kubernetes calls it pause), and a shell with tools for tests.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["/bin/sh", "-c", "trap exit TERM INT; while :; do sleep 86400 & wait; done"]
