"""Input from users: videos, manifests, annotations; and a synthetic corpus."""
