"""Judges rationales by their text.

quality     finds the flags of one rationale, e.g. `echo`, and the answer that it states
sentences   finds where sentences end
statistics  marks repeated rationales, and counts flags and words over a whole corpus
"""
