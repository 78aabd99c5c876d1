"""Vectors of text and of source files. Knows no flow and no framework: texts, identifiers and edges in, arrays out."""
