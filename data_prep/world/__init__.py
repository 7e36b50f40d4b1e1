"""The tiny internet of `make tiny`: a small invented world, its crawl and the truth about both."""
