"""IPsec: security associations, ESP, its ciphers and its authentication (Click's group 'ipsec')."""
