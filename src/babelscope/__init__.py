"""Trace how multilingual language models move from language-specific to shared neurons."""

__version__ = "0.1.0"
