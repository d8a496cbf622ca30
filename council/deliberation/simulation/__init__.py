"""Synthetic voters in front of the real ballots and the real count: what rules and stages gain, compared with theory.

``voters`` draws what synthetic seats think, ``elections`` puts it on ballots and has it counted, ``experiments`` repeats that.
``manage.py simulate`` prints the tables and writes them into docs/deliberation.md.
"""
