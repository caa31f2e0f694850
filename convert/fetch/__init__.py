"""Gets the official release: an address comes in, a checked project folder and the model folder made of it go out."""
