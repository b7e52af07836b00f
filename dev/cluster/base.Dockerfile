# Stands in for python:3.11-slim-bookworm where no public registry can be reached.
FROM scratch
ADD rootfs.tar /
CMD ["python3"]
