// A firewall for a small office: web, names, ping and ssh pass; what is dropped is counted by the rule that dropped it.
//
//   penstock run boxes/firewall/firewall.click -D IN=examples/office.pcap -D OUT=allowed.pcap

define($IN examples/office.pcap, $OUT allowed.pcap)

elementclass Firewall {
    input
        -> checked :: CheckIPHeader
        -> rules :: IPFilter(
            1 ip frag,
            2 src net 127.0.0.0/8 or src net 224.0.0.0/4,
            3 dst port 23 or dst port 445 or dst port 3389,
            4 tcp port 5201 or udp port 5201,
            0 icmp type echo or icmp type echo-reply,
            0 port 53,
            0 tcp port 80 or 22,
            5 all)
        -> output;
    checked [1] -> bad_header :: Counter -> Discard;
    rules [1] -> fragments :: Counter -> Discard;
    rules [2] -> spoofed :: Counter -> Discard;
    rules [3] -> worm_ports :: Counter -> Discard;
    rules [4] -> bulk :: Counter -> Discard;
    rules [5] -> not_allowed :: Counter -> Discard;
}

FromDump($IN, STOP true)
    -> all :: Counter
    -> kind :: Classifier(12/0800, -)
    -> Strip(14)
    -> fw :: Firewall
    -> allowed :: Counter
    -> Unstrip(14)
    -> ToDump($OUT, SNAPLEN 0);
kind [1] -> not_ip :: Counter -> Discard;
