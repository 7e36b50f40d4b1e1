"""The steps of `data_prep.web`: reading WARC files, filters, personal data, executors, the funnel and its score."""
