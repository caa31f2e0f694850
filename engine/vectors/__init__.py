"""Pictures that look like one another: feature vectors and hashes of pictures, kept in a file, searched in memory."""
