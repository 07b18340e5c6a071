"""A page on which typed questions are put to students.

    ask    a typed question, and what a student makes of it: probabilities, text, rationales
    page   the page itself, with gradio, on this machine alone

Only `page` needs gradio, which is the optional extra `demo`.
"""
