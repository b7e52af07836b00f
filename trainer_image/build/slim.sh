#!/bin/sh
# slim.sh VENV ACCELERATOR: removes what no pod uses, and compiles the rest to bytecode, since a pod's root is read-only.
set -eu
venv=$1 accelerator=$2
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

if [ "$accelerator" = cpu ]; then
  rm -rf "$site/torch/include"   # a GPU's kernels are compiled against these at run time
  find "$site/bitsandbytes" -name 'libbitsandbytes_*.so' -not -name '*_cpu.so' -delete
fi
find "$site" -type d -name tests -prune -exec rm -rf {} +
# Of pyarrow only the reading of files is used, not its network services.
rm -rf "$site/pyarrow/include" "$site"/pyarrow/libarrow_flight* "$site"/pyarrow/libarrow_python_flight* \
  "$site"/pyarrow/libarrow_s3* "$site"/pyarrow/_flight.* "$site"/pyarrow/_s3fs.*
# matplotlib draws one PNG: no other fonts than its own, no other pictures.
find "$site/fontTools" -mindepth 1 -maxdepth 1 -type d -not -name misc -exec rm -rf {} +
rm -rf "$site"/matplotlib/mpl-data/fonts/afm "$site"/matplotlib/mpl-data/fonts/pdfcorefonts "$site"/matplotlib/mpl-data/sample_data \
  "$site"/PIL/_avif.* "$site"/pillow.libs/libavif-*
find "$site/deepspeed" -name '*.so' -exec strip --strip-unneeded {} +
"$venv/bin/python" -m compileall -q -j 0 "$site" || true   # some packages ship files for other versions of Python
