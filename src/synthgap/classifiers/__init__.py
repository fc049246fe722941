"""Classifiers: architectures, training on images of one source, tests on images of another."""
