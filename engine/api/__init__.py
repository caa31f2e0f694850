"""The media API as its client sees it: addresses and token, messages, what an answer means, when to ask again."""
