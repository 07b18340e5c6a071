"""Makes a corpus of rationales that others published.

released  the files that the authors of TinyLLM released
"""
