"""Comparisons with other libraries, run by hand: see README.md beside this file.

Every side that is measured is a process of its own, so that its memory is its own, and one that
waits while another side has its turn. The processes that run another library import nothing of
bigclip, so that they can have an interpreter of their own.
"""
