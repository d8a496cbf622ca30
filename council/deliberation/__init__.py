"""The pure heart of Quorum: how a council deliberates.

Nothing here touches a database, a clock, a network or a random source that was not handed in: the same state always
gives the same next step and the same ballots always give the same decision, which is what makes a council recomputable.

``types``      values that travel between the parts
``protocol``   presets, validation, ``next_step(state)``: what a run does next
``ballots``    presentation orders, mapping of ballots to answer clusters
``consensus``  decision rules, margins, agreement, ``tally(...)``
``prompts``    the words that seats read
``parsing``    the words that seats wrote, made into values
``dialogues``  one turn as a conversation: structured (one call) or guided (one short constrained question per field)
"""
