"""Click's group ``tcpudp``."""
