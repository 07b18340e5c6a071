"""Judges rationales by their text.

quality     finds the flags of one rationale, e.g. `echo`
answers     finds the answer that a text states, and cuts it off
choices     finds which choice a text names
copied      finds texts that begin by giving the gold answer
repetition  finds texts that repeat themselves
echo        finds where a text falls back into the form of the prompt
languages   finds another language or script than the question's, and garbled characters
refusals    finds refusals and error messages
words       says which words of a text carry content, and which are inflected forms of one
sentences   finds where sentences end
plain       makes texts comparable: one case, single spaces, no marks
statistics  marks repeated rationales, and counts flags and words over a whole corpus
"""
