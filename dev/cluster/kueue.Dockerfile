# Kueue's manager, where its chart expects it.
FROM scratch
COPY kueue /manager
USER 65532:65532
