"""Packets in packets: GRE, VXLAN, Geneve, MPLS. Click has none of these."""
