"""Webhooks: people's own streams, told to their own servers.

    kinds      what may be told, and the message of each event
    subjects   what messages are about, and who may know of it: the apps above say
    endpoints  what people do with their endpoints: the services
    signing    secrets and signatures (Standard Webhooks)
    fanning    events of streams become deliveries
    sending    deliveries are sent, tried again, given up
    task       the one task that does both

Nothing of this happens where councils and packs change: their events stand in the owner's stream anyway, and each endpoint has a
cursor in it.
"""
