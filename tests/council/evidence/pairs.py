"""An original set by which the threshold of ``citations.SIMILAR`` was chosen: statements about passages.

``SAID`` are true of their passage in other words, so that comparing words alone rejects most of them. ``NOT_SAID`` stay on the
passage's topic without being said by it: conclusions, causes and comparisons that it does not draw, neighbouring facts, swapped
subjects. ``DENIED`` say the opposite.
"""

from __future__ import annotations

PASSAGES: dict[str, str] = {
    "friday": (
        "During the trial the support desk was closed on Fridays. Two customers complained because the first response took "
        "until Monday. An additional engineer was hired to restore coverage at the end of the week."
    ),
    "oven": (
        "The old deck oven loses heat whenever its door is opened. Loaves near the front stay pale while those at the back "
        "burn. A replacement would need a stronger power line, which the landlord has not approved."
    ),
    "ferry": (
        "Night ferries carry mostly lorries. Drivers must rest by law, and a crossing counts as rest when a cabin is booked. "
        "Passenger numbers drop sharply once the school holidays are over."
    ),
    "library": (
        "The branch library lends out tools besides books. Drills and sanders are returned damaged more often than novels. "
        "Volunteers repair most of them in the evening, so the waiting list has shrunk."
    ),
    "cable": (
        "Underground cables cost several times as much as overhead lines. Faults in them are rarer but take far longer to "
        "find. Residents prefer them since they keep the view free."
    ),
    "tests": (
        "The team runs all tests before each merge. Developers began to batch their changes because the queue was slow. "
        "Large batches made it harder to see which change had broken the build."
    ),
    "clinic": (
        "Reminders by text message go out on the day before an appointment. Fewer patients fail to turn up since then. "
        "Older people often have no mobile number on record and are phoned instead."
    ),
    "trees": (
        "Young street trees die mainly from lack of water in their first two summers. Bags that drip slowly keep the root "
        "ball moist. Neighbours who adopt a tree water it more reliably than contractors."
    ),
}

SAID: tuple[tuple[str, str], ...] = (
    ("friday", "Nobody staffed customer service at the end of the working week."),
    ("friday", "Clients were unhappy about waiting over the weekend for a reply."),
    ("friday", "The company recruited one more technician to fill the gap."),
    ("friday", "Help was not available on the last working day while the experiment ran."),
    ("oven", "Each time somebody opens the oven it cools down."),
    ("oven", "Bread bakes unevenly, too dark in the rear and too light in front."),
    ("oven", "Installing a new one depends on the building's owner agreeing to better electrics."),
    ("ferry", "Overnight sailings transport trucks more than people."),
    ("ferry", "A trucker with a cabin may treat the voyage as mandatory break time."),
    ("ferry", "Far fewer travellers are on board after the summer break of pupils."),
    ("library", "You can borrow equipment there as well as reading matter."),
    ("library", "Power tools come back broken more frequently than fiction."),
    ("library", "Unpaid helpers fix the broken items, which has shortened the queue."),
    ("cable", "Burying power lines is much more expensive than hanging them on masts."),
    ("cable", "Buried wires fail less often, but locating the defect is slow."),
    ("cable", "People living nearby like them because the landscape stays unspoilt."),
    ("tests", "Every check is executed prior to integrating code."),
    ("tests", "Programmers grouped their edits since waiting took too long."),
    ("tests", "With bigger bundles it was difficult to identify the culprit of a failure."),
    ("clinic", "An SMS is sent one day ahead of the visit."),
    ("clinic", "No-shows have become less common."),
    ("clinic", "Elderly patients get a telephone call since they frequently have no cell phone listed."),
    ("trees", "Saplings along roads mostly perish of drought early on."),
    ("trees", "Slow-release irrigation bags stop the roots from drying out."),
    ("trees", "Residents looking after a tree are more dependable waterers than paid firms."),
)

# As a chair retells a passage: some of its words, some of its own.
RETOLD: tuple[tuple[str, str], ...] = (
    ("friday", "Two clients were dissatisfied since they only heard back from support on Monday."),
    ("friday", "Closing the desk on Friday forced the firm to hire extra staff."),
    ("friday", "End-of-week coverage was brought back by adding an engineer."),
    ("oven", "Opening the door costs the deck oven a lot of warmth."),
    ("oven", "The front loaves are underbaked and the rear ones scorched."),
    ("oven", "Replacing the oven means a power upgrade that the landlord still has to permit."),
    ("ferry", "At night the ferries are filled mainly with trucks."),
    ("ferry", "Booking a cabin lets drivers count the crossing towards their legal rest."),
    ("ferry", "After the school holidays far fewer passengers come aboard."),
    ("library", "Besides books, visitors of the library may take tools home."),
    ("library", "Volunteers mend the tools at night and so people wait less long."),
    ("library", "Sanders and drills suffer more damage on loan than novels do."),
    ("cable", "Cables under the ground are several times more expensive than lines overhead."),
    ("cable", "Though faults underground are less common, finding one takes much longer."),
    ("cable", "An unobstructed view is why residents favour buried cables."),
    ("tests", "Before anything is merged, the whole test suite is run."),
    ("tests", "A slow queue led the developers to bundle changes."),
    ("tests", "Big batches hid the change that broke a build."),
    ("clinic", "The day before, patients are reminded by text."),
    ("clinic", "Since the reminders fewer people miss their appointment."),
    ("clinic", "Those of the older patients without a mobile are rung up."),
    ("trees", "Lack of water during the first summers kills most young trees in streets."),
    ("trees", "Dripping bags hold moisture around the roots."),
    ("trees", "An adopted tree gets water more dependably from neighbours than from contractors."),
)

NOT_SAID: tuple[tuple[str, str], ...] = (
    ("friday", "The trial was popular with most employees."),
    ("friday", "Support should be outsourced to another country."),
    ("friday", "Customers cancelled their contracts because of the closed desk."),
    ("friday", "Engineers answered requests from home at weekends."),
    ("oven", "The bakery earns more with rye bread than with rolls."),
    ("oven", "A gas oven would be cheaper to run than an electric one."),
    ("oven", "The landlord wants to raise the rent next year."),
    ("oven", "The oven should be serviced every month."),
    ("ferry", "Cabins on night ferries are too expensive for drivers."),
    ("ferry", "The harbour plans to build a second pier."),
    ("ferry", "Families prefer to travel by day."),
    ("ferry", "Lorries damage the car deck of the ferry."),
    ("library", "The library will soon charge a fee for tools."),
    ("library", "Readers borrow more novels than textbooks."),
    ("library", "Volunteers receive training before they repair tools."),
    ("library", "The library buys its tools second-hand."),
    ("cable", "Storms will become more frequent in the coming decades."),
    ("cable", "Overhead lines are dangerous for birds."),
    ("cable", "The grid operator pays residents compensation."),
    ("cable", "Underground cables last longer than overhead lines."),
    ("tests", "A faster server for the tests has been ordered."),
    ("tests", "Most failing tests turned out to be unreliable."),
    ("tests", "The team reviews every change in pairs."),
    ("tests", "Developers write the tests before the code."),
    ("clinic", "Appointments can be booked on the internet."),
    ("clinic", "Patients who miss an appointment must pay a fee."),
    ("clinic", "Text messages cost the clinic too much."),
    ("clinic", "Doctors spend more time with older patients."),
    ("trees", "Street trees cool the city by several degrees."),
    ("trees", "Contractors prune the trees in winter."),
    ("trees", "Oaks tolerate salt better than maples."),
    ("trees", "Neighbours complain about leaves on their cars."),
)

DENIED: tuple[tuple[str, str], ...] = (
    ("friday", "No customer complained about slow responses."),
    ("friday", "The support team was open on every Friday."),
    ("oven", "The old oven keeps its heat very well when opened."),
    ("oven", "The owner of the house has agreed to a stronger line."),
    ("ferry", "A crossing never counts as rest for drivers."),
    ("ferry", "More passengers travel once the school holidays are over."),
    ("library", "Novels come back damaged more often than drills."),
    ("library", "Waiting times for tools have grown."),
    ("cable", "Overhead lines cost more than cables in the ground."),
    ("cable", "Buried cables fail more often than overhead lines."),
    ("tests", "Small batches hid which change had broken the build."),
    ("tests", "Nothing is tested before code is merged."),
    ("clinic", "More patients stay away since the reminders began."),
    ("clinic", "Messages are sent on the day after the appointment."),
    ("trees", "Contractors water trees more reliably than neighbours."),
    ("trees", "Young trees rarely die from lack of water."),
)
