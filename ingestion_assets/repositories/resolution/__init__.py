"""Imports resolved to files, one module for each family of languages. Knows facts and manifests; reads no file."""
