"""``manage.py trial``: a question set with known answers under several protocols, at one token budget for each question.

``questions``  the set, its file format, which of its answers are right
``rows``       what one protocol made of one question, and the file that keeps them
``sampling``   one model asked once, or several times with a vote: what councils are compared with
``councils``   the same question before a real council: a session of the product's, driven by its own workers' code
``bench``      all of them, several at a time, safe against crashes
``findings``   rows into measures (``deliberation.measures``), ``report`` measures into text, JSON, Markdown and a plot
"""
