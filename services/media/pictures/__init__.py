"""Pictures: decoded once, turned the right way up, resized, put into sRGB, encoded without metadata."""
