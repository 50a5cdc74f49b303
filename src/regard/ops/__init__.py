"""Pure tensor functions: attention cores, rotary maths, losses, randomness. The only room with a softmax in it."""
