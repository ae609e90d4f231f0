"""Known prices of models, and what an operator's rate card says instead. No network, no clock.

    terms        what models cost by a catalogue, as data, in micro-dollars
    patterns     the names of models as patterns of a card, in an order in which each can match
    variants     service tiers and batches as factors
    genai        reads the offline data of the package genai-prices, an optional extra
    additions    known prices that the catalogue lacks
    proposal     a catalogue as the text of a rate card
    differences  an operator's card compared with a proposed one, model by model

Nothing here is used while requests are served: a price reaches a card only through its operator.
"""
