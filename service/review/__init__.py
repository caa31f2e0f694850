"""Review: people say yes or no to one tag over many pictures, and their verdicts show which score it should have."""
