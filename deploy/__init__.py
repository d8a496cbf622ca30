"""What it takes to ship Quorum: the supply chain now, images and manifests with issue 8. The product imports nothing from here."""
