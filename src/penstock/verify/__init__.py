"""What a configuration, or a network of them, does to every packet: symbolic execution of the elements' own source (SymNet).

In come configurations, topologies and questions; out go answers with the packets they hold for, an example, and the way.
"""

from penstock.verify.box import Box, Ending, Step
from penstock.verify.errors import NotDecided
from penstock.verify.network import Host, Network, NetworkError, Way
from penstock.verify.networkfile import load_network
from penstock.verify.policy import Assertion, PolicyError, parse_policy
from penstock.verify.questions import Answer, Witness
from penstock.verify.results import Results, check
from penstock.verify.traffic import Traffic, TrafficError, parse_traffic

__all__ = [
    "Answer",
    "Assertion",
    "Box",
    "Ending",
    "Host",
    "Network",
    "NetworkError",
    "NotDecided",
    "PolicyError",
    "Results",
    "Step",
    "Traffic",
    "TrafficError",
    "Way",
    "Witness",
    "check",
    "load_network",
    "parse_policy",
    "parse_traffic",
]
