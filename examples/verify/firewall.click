// A stateful firewall: connections begin inside, and what comes back belongs to one of them.
FromDevice(inside) -> Strip(14) -> CheckIPHeader -> state :: IPRewriter(keep 0 1, drop) -> Unstrip(14) -> ToDevice(outside);
FromDevice(outside) -> Strip(14) -> CheckIPHeader -> [1] state;
state[1] -> Unstrip(14) -> ToDevice(inside);
