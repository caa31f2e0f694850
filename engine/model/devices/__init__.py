"""Where a model can run: a module a device, each with an object `DEVICE`. `engine.config.DeviceName` lists them."""
