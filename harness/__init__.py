"""Reproduces the tables of masked-distillation vision-transformer papers and says what holds."""

__version__ = "0.1.0"
