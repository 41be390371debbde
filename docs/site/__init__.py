"""Builds the site of the documentation from docs/*.md: `./run docs`."""
