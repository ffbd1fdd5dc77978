"""Executing runs: the worker that computes them, and the executors that start workers."""
