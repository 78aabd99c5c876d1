"""Threads that ask sources and models on behalf of users: two of a user at a time, as these take as long as they like."""

from ingestion_assets.frontdoor.shared_threads import SharedThreads

sources = SharedThreads(8, of_a_user=2, name="documents-sources")
