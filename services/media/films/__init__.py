"""Films and sounds: probed, then made into smaller films, posters, previews and peaks, inside a slot."""
