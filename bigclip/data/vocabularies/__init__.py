"""Vocabularies of published tokenizers, unchanged; NOTICE says whose they are."""
