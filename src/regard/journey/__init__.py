"""The whole life of a model on the data that come with the package: `regard demo`.

    found = demo.run("demo-run", plan.QUICK, prompt="明月", screen=Screen(console))

Five steps: look at the data and clean them; pretrain a GPT on poems and write verses; fine-tune a pretrained encoder
beside the same one from random weights; train the Transformer of 2017 to translate; and show it all in one page. Every
training is an ordinary run in a folder of its own, every score comes from the task that `regard eval` asks too: there
is no training and no scoring in this room. Reading order: demo, plan, walk, folder, screen, then a file for each
step: data, poems, reviews, translation, page.
"""
