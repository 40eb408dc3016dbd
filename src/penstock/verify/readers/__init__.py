"""Other systems' tables, rules and topologies as configurations and links: what is not understood is refused, not left out."""
