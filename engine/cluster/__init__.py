"""A run on several machines: Ray nodes read, decode, fit and score; catalogue, ledger and delivery stay with the run.

    cluster    connects, asks every node, starts the sessions: what the pipeline is given
    dispatch   the stage between `todo` and `scored`: which block is done where, and again where a node fails
    nodes      the run's account of nodes and sessions
    loading    on a node, in a Ray task: a block of media -> rows, by the loader of `engine.stages.load`
    scoring    on a node, in a Ray actor: rows -> scores, by a session of `engine.model`
    check      on a node, before it takes part: is all there that it needs?
    messages   what travels between the run and the nodes

`loading`, `scoring` and `check` know nothing of Ray: they are ordinary code that Ray calls.
"""
