"""Training: recipes, the loop, optimisers, schedules, checkpoints, runs.

    from regard.train import recipe, start

    run, outcome = start.start(recipe.load("recipe.toml"), "runs/mine-1")
    run, outcome = start.resume("runs/mine-1")

Reading order: recipe, start, setup, feed, loop, checkpoint, run. A loop of one's own can take `optimizers`, `schedules`
and `checkpoint` alone.
"""
