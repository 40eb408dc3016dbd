"""What a configuration, or a network of them, does to every packet: symbolic execution of the elements' own source (SymNet).

In come configurations, topologies and questions; out go answers with the packets they hold for, an example, and the way.
"""
