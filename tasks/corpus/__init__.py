"""What people bring: videos, manifests, annotations; and a corpus that is rendered."""
