"""Signatures of results (C2PA), and what the marks of any image say. It needs `diffuseit[provenance]`.

Nothing here opens a connection: there is no time-stamp server, and manifests that are elsewhere are not fetched.
"""
