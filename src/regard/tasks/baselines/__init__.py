"""What stands beside a model: methods without a Transformer, scored on the same held-out data.

`ngram` language models over characters, `gaps` fillers of masked tokens, `majority` and `bag_of_words` classifiers,
`neighbour` memories for sequence to sequence.
"""
