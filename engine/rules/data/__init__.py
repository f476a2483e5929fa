"""Dated rule data: each file names its source and version in its header; the runtime only reads them."""
