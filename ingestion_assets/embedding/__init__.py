"""Vectors of text and of source files. Knows no flow, no store and no framework: texts, identifiers and edges in, arrays out."""
