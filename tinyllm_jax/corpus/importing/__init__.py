"""Reads rationales that others wrote, in their own formats.

released    makes a corpus of the files that the authors of TinyLLM released
rationales  the rows of a file or dataset of any origin, for a build to join
"""
