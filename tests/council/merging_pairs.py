"""Answers as seats might give them, written for this test: (an answer, the same in other words, one that says something else about
the same question). The third is a contradiction or a rival proposal, close in its words on purpose; half of them carry no word of denial.
"""

from __future__ import annotations

TRIPLES: tuple[tuple[str, str, str], ...] = (
    (
        "Move the database to a managed service this year.",
        "This year the database should be moved to a managed service.",
        "Keep the database on our own servers this year.",
    ),
    (
        "We should adopt a four-day week for the support team.",
        "The support team should switch to a four-day week.",
        "We should not adopt a four-day week for the support team.",
    ),
    ("Use tabs for indentation.", "Indent with tabs.", "Use spaces for indentation."),
    (
        "The library should extend its opening hours on weekends.",
        "Weekend opening hours of the library should be extended.",
        "The library should shorten its opening hours on weekends.",
    ),
    (
        "Vaccinate the herd before the rainy season.",
        "The herd should be vaccinated before the rainy season starts.",
        "Vaccinate the herd after the rainy season.",
    ),
    (
        "Hire two more nurses for the night shift.",
        "For the night shift, two more nurses should be hired.",
        "Hire four more nurses for the night shift.",
    ),
    (
        "The bridge is safe for lorries until the spring.",
        "Until spring, lorries can safely use the bridge.",
        "The bridge is unsafe for lorries until it is repaired.",
    ),
    (
        "Raise the price of the basic plan.",
        "The basic plan's price should go up.",
        "Lower the price of the basic plan.",
    ),
    (
        "Plant oaks along the northern road.",
        "Along the northern road, oaks should be planted.",
        "Plant limes along the northern road.",
    ),
    (
        "Let each team choose its own editor.",
        "Every team should pick the editor it wants.",
        "Standardise on one editor for all teams.",
    ),
    ("The meeting should be held in person.", "We should meet in person.", "The meeting should be held online."),
    (
        "Replace the gas boiler with a heat pump now.",
        "A heat pump should replace the gas boiler right away.",
        "Repair the gas boiler and wait with the heat pump.",
    ),
    ("Publish the report in full.", "The full report should be published.", "Publish only a summary of the report."),
    (
        "Children under ten should not swim here alone.",
        "Swimming here alone is not something children under ten should do.",
        "Children under ten may swim here alone.",
    ),
    (
        "Start the harvest on the southern fields.",
        "The harvest should begin with the fields in the south.",
        "Start the harvest on the eastern fields.",
    ),
    (
        "The contract should be renewed for another term.",
        "Renew the contract for one more term.",
        "The contract should be terminated at the end of the term.",
    ),
    ("Rewrite the parser in Rust.", "The parser should be rewritten in Rust.", "Rewrite the parser in Go."),
    (
        "Give the grant to the river project.",
        "The river project should receive the grant.",
        "Give the grant to the forest project.",
    ),
    (
        "Remote work improves retention more than pay does.",
        "For retention, remote work does more than pay.",
        "Pay improves retention more than remote work does.",
    ),
    (
        "Caching at the edge is the cheapest way to cut latency.",
        "The cheapest way to reduce latency is caching at the edge.",
        "Moving the servers closer is the cheapest way to cut latency.",
    ),
    (
        "Turn the old station into a museum.",
        "The old station should become a museum.",
        "Turn the old station into a market hall.",
    ),
    (
        "Tests should run on every commit. Slow suites can wait for the night.",
        "Run the tests on each commit and leave slow suites to the night.",
        "Tests should run once a day. Slow suites can wait for the weekend.",
    ),
    (
        "The tariff should depend on the time of day, because peaks are what cost us.",
        "Because peaks cause our costs, the tariff should vary with the time of day.",
        "The tariff should be the same all day, because people cannot shift their use.",
    ),
    (
        "Dogs should be allowed on the beach in winter.",
        "In winter, dogs should be permitted on the beach.",
        "Dogs should be allowed on the beach in summer.",
    ),
    (
        "Announce the delay to customers today.",
        "Customers should be told about the delay today.",
        "Announce the delay to customers once a new date is known.",
    ),
    (
        "Buy the licence for all staff.",
        "A licence for the whole staff should be bought.",
        "Buy the licence for the engineers alone.",
    ),
    (
        "The evidence suggests that the drug works for mild cases.",
        "For mild cases the drug works, the evidence suggests.",
        "The evidence suggests that the drug works for severe cases.",
    ),
    (
        "Store the records for seven years, as the auditors ask.",
        "As the auditors ask, records should be kept for seven years.",
        "Store the records for one year, as the privacy officer asks.",
    ),
    (
        "Let the algorithm sort the applications and people decide.",
        "Applications should be sorted by the algorithm, and people should make the decision.",
        "Let people sort the applications and the algorithm decide.",
    ),
    ("Open the pool in May.", "The pool should open in May.", "Open the pool in June."),
    (
        "Close the branch in the old town and strengthen online advice.",
        "The old-town branch should be closed in favour of better online advice.",
        "Strengthen the branch in the old town and close online advice.",
    ),
    (
        "A carbon price is the most effective single measure.",
        "The single most effective measure is to price carbon.",
        "A ban on new boilers is the most effective single measure.",
    ),
    (
        "Use the cheaper sensor; its error is small enough for our purpose.",
        "The cheaper sensor will do, since its error is small enough for what we need.",
        "Use the dearer sensor; the cheaper one's error is too large for our purpose.",
    ),
    (
        "Write the specification in English.",
        "The specification should be written in English.",
        "Write the specification in French.",
    ),
    (
        "The fish stock can bear the present catch.",
        "The present catch can be borne by the fish stock.",
        "The fish stock can bear half of the present catch.",
    ),
    (
        "Postpone the launch until the security review is done.",
        "The launch should wait until the security review is finished.",
        "Launch as planned and do the security review afterwards.",
    ),
)
SAME = tuple((answer, same) for answer, same, _ in TRIPLES)
DIFFERENT = tuple(pair for answer, same, other in TRIPLES for pair in ((answer, other), (same, other)))

# Written after the rule was finished and never used to change it: six paraphrases, then twelve answers that say something else.
UNSEEN_SAME = (
    ("Sell the van and rent one when needed.", "The van should be sold; rent one when it is needed."),
    ("Teach statistics before programming.", "Statistics should be taught before programming."),
    ("Pay the invoices weekly.", "Invoices should be paid weekly."),
    ("Put the solar panels on the barn roof.", "The solar panels belong on the roof of the barn."),
    ("Translate the manual into Polish first.", "First translate the manual into Polish."),
    ("Give volunteers a written contract.", "Volunteers should get a written contract."),
)
UNSEEN = (
    ("Sell the van and rent one when needed.", "Keep the van and rent it out when possible."),
    ("Teach statistics before programming.", "Teach programming before statistics."),
    ("Pay the invoices weekly.", "Pay the invoices monthly."),
    ("Put the solar panels on the barn roof.", "Put the solar panels on the house roof."),
    ("Translate the manual into Polish first.", "Translate the manual into Czech first."),
    ("Give volunteers a written contract.", "Give volunteers an oral agreement."),
    ("The night bus should stop at the hospital.", "The night bus should pass the hospital without a stop."),
    ("Doctors should overrule the software.", "The software should overrule doctors."),
    ("Charge visitors for parking.", "Visitors should park free of charge."),
    ("Trust the older survey.", "Trust the newer survey."),
    ("Cut the budget for travel to pay for training.", "Cut the budget for training to pay for travel."),
    ("The dam should be raised.", "The dam should be removed."),
)
