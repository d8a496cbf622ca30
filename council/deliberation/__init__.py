"""The pure heart of Quorum: how a council deliberates.

Nothing here touches a database, a clock, a network or a random source that was not handed in: the same state always
gives the same next step and the same ballots always give the same decision, which is what makes a council recomputable.

``types``      values that travel between the parts
``protocol``   presets, validation, ``next_step(state)``: what a run does next
``steps``      ``next_step``: one function for each stage; ``ending`` how a run ends, ``settled`` whether it must be waited for
``ballots``    presentation orders, mapping of ballots to answer clusters
``consensus``  decision rules, margins, agreement, ``tally(...)``
``estimates``  distributions of figures, instead of ballots
``merging``    which open answers say the same
``neighbours`` who reads whom in a debate
``prompts``    the words that seats read
``parsing``    the words that seats wrote, made into values
``tools``      what a model may call in the middle of a turn; ``shelf`` the passages that a turn was shown
``dialogues``  one turn as a conversation: structured (one call) or guided (one short constrained question per field)
"""
