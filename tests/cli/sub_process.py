"""A stand-in for a module that the `carillon` command runs."""

import sys

print(__name__, sys.argv[1:])
