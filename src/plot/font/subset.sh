#!/bin/sh
# Makes DejaVuSans-subset.ttf from DejaVu Sans 2.37 with fonttools 4.68 (pip install fonttools):
#   ./subset.sh path/to/DejaVuSans.ttf
# Kept: Latin with accents, Greek, Cyrillic, super- and subscripts, dashes and quotes, arrows,
# letter-like signs, fractions, mathematical operators, geometric shapes.
set -eu
cd "$(dirname "$0")"
pyftsubset "$1" \
  --unicodes='U+0020-007E,U+00A0-017F,U+0218-021B,U+02C6-02DD,U+0384-03CE,U+03D0-03D6,U+03F0-03F5,U+0400-045F,U+1D43-1D6A,U+2000-200A,U+2010-2022,U+2026,U+202F,U+2030-203A,U+2070-209C,U+20AC,U+2102-2138,U+2150-215E,U+2190-21FF,U+2200-22FF,U+2308-230B,U+25A0-25FF,U+2713-2717,U+27E8-27E9,U+FFFD' \
  --layout-features='' --legacy-kern --no-hinting --desubroutinize \
  --name-IDs='0,1,2,3,4,5,6,13,14' --notdef-outline --drop-tables+=FFTM,GDEF,GPOS,GSUB \
  --output-file=DejaVuSans-subset.ttf
