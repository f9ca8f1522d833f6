# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_snet_global_optspecs
    string join \n c/config= dns-only v/verbose h/help V/version
end

function __fish_snet_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_snet_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_snet_using_subcommand
    set -l cmd (__fish_snet_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c snet -n "__fish_snet_needs_command" -s c -l config -d 'The configuration file' -r -F
complete -c snet -n "__fish_snet_needs_command" -l dns-only -d 'Only the split resolver: no root, no firewall rule'
complete -c snet -n "__fish_snet_needs_command" -s v -l verbose -d 'Log more; twice: everything'
complete -c snet -n "__fish_snet_needs_command" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_needs_command" -s V -l version -d 'Print version'
complete -c snet -n "__fish_snet_needs_command" -f -a "check" -d 'Check a configuration file and print what it means'
complete -c snet -n "__fish_snet_needs_command" -f -a "rules" -d 'Print what the kernel would be told; do nothing'
complete -c snet -n "__fish_snet_needs_command" -f -a "reload" -d 'Reload the configuration of the running daemon; connections live on'
complete -c snet -n "__fish_snet_needs_command" -f -a "status" -d 'Print how the running daemon is: capture, traffic, names, proxies, lists'
complete -c snet -n "__fish_snet_needs_command" -f -a "explain" -d 'Say why a name or an address goes where it goes: rules, lists, answers, verdict, proxy'
complete -c snet -n "__fish_snet_needs_command" -f -a "use" -d 'Use this member of a group while it works; without a member: as the policy says'
complete -c snet -n "__fish_snet_needs_command" -f -a "delay" -d 'Test how soon an answer comes through the proxies of the running daemon'
complete -c snet -n "__fish_snet_needs_command" -f -a "top" -d 'Watch the connections of the running daemon: who talks to whom, how fast, by which way'
complete -c snet -n "__fish_snet_needs_command" -f -a "link" -d 'Print proxies as links and as tables of the file: those of a file, or that of a link on standard input'
complete -c snet -n "__fish_snet_needs_command" -f -a "config" -d 'Configurations of other programs'
complete -c snet -n "__fish_snet_needs_command" -f -a "cleanup" -d 'Remove whatever a killed snet has left in the kernel'
complete -c snet -n "__fish_snet_needs_command" -f -a "selftest" -d 'Try everything in a sealed little internet on this very kernel; needs no root'
complete -c snet -n "__fish_snet_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c snet -n "__fish_snet_using_subcommand check" -s c -l config -d 'The configuration file' -r -F
complete -c snet -n "__fish_snet_using_subcommand check" -l dns-only -d 'Read it as for `--dns-only`'
complete -c snet -n "__fish_snet_using_subcommand check" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand rules" -s c -l config -d 'The configuration file' -r -F
complete -c snet -n "__fish_snet_using_subcommand rules" -l dns-only -d 'Read it as for `--dns-only`'
complete -c snet -n "__fish_snet_using_subcommand rules" -l sets -d 'The lists of addresses too, and everything in the order in which the kernel is told. With the backend nftables, `nft -c -f -` takes it'
complete -c snet -n "__fish_snet_using_subcommand rules" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c snet -n "__fish_snet_using_subcommand reload" -l socket -d 'Its `control.socket`' -r -F
complete -c snet -n "__fish_snet_using_subcommand reload" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand status" -l socket -d 'Its `control.socket`' -r -F
complete -c snet -n "__fish_snet_using_subcommand status" -l json -d 'As JSON, for programs'
complete -c snet -n "__fish_snet_using_subcommand status" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand explain" -s c -l config -d 'Ask no running snet, only this file: what it decides by itself' -r -F
complete -c snet -n "__fish_snet_using_subcommand explain" -l socket -d 'Its `control.socket`' -r -F
complete -c snet -n "__fish_snet_using_subcommand explain" -l json -d 'As JSON, for programs'
complete -c snet -n "__fish_snet_using_subcommand explain" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand use" -l socket -d 'Its `control.socket`' -r -F
complete -c snet -n "__fish_snet_using_subcommand use" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand delay" -l url -d 'Fetch this through them, and tell the time until the answer begins. Without it they are asked what snet itself asks, and the time is that of an answer over a connection that stands' -r -f
complete -c snet -n "__fish_snet_using_subcommand delay" -l timeout -d 'Seconds that each may take' -r -f
complete -c snet -n "__fish_snet_using_subcommand delay" -l socket -d 'Its `control.socket`' -r -F
complete -c snet -n "__fish_snet_using_subcommand delay" -l json -d 'As JSON, for programs'
complete -c snet -n "__fish_snet_using_subcommand delay" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand top" -l interval -d 'Seconds from one look to the next' -r -f
complete -c snet -n "__fish_snet_using_subcommand top" -l socket -d 'Its `control.socket`' -r -F
complete -c snet -n "__fish_snet_using_subcommand top" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand link" -s c -l config -d 'The proxies of this file. Without it, links are read from standard input, one on each line: an argument would show their passwords to everyone on this machine' -r -F
complete -c snet -n "__fish_snet_using_subcommand link" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand config; and not __fish_seen_subcommand_from import help" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand config; and not __fish_seen_subcommand_from import help" -f -a "import" -d 'Make a configuration of another program\'s file: SNET\'s config.json, the proxies of a Clash file, the outbounds of a sing-box file, shadowsocks\' config.json, links'
complete -c snet -n "__fish_snet_using_subcommand config; and not __fish_seen_subcommand_from import help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c snet -n "__fish_snet_using_subcommand config; and __fish_seen_subcommand_from import" -s o -l output -d 'Write here, readable only by its owner, instead of to standard output. A file that is there is never replaced' -r -F
complete -c snet -n "__fish_snet_using_subcommand config; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c snet -n "__fish_snet_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "import" -d 'Make a configuration of another program\'s file: SNET\'s config.json, the proxies of a Clash file, the outbounds of a sing-box file, shadowsocks\' config.json, links'
complete -c snet -n "__fish_snet_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c snet -n "__fish_snet_using_subcommand cleanup" -l keep-closed -d 'Leave a network that firewall.on-failure = "closed" keeps closed'
complete -c snet -n "__fish_snet_using_subcommand cleanup" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand selftest" -l backend -d 'Only with this one; otherwise with each that can be had here' -r -f -a "iptables\t''
nftables\t''"
complete -c snet -n "__fish_snet_using_subcommand selftest" -s h -l help -d 'Print help'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "check" -d 'Check a configuration file and print what it means'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "rules" -d 'Print what the kernel would be told; do nothing'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "reload" -d 'Reload the configuration of the running daemon; connections live on'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "status" -d 'Print how the running daemon is: capture, traffic, names, proxies, lists'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "explain" -d 'Say why a name or an address goes where it goes: rules, lists, answers, verdict, proxy'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "use" -d 'Use this member of a group while it works; without a member: as the policy says'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "delay" -d 'Test how soon an answer comes through the proxies of the running daemon'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "top" -d 'Watch the connections of the running daemon: who talks to whom, how fast, by which way'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "link" -d 'Print proxies as links and as tables of the file: those of a file, or that of a link on standard input'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "config" -d 'Configurations of other programs'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "cleanup" -d 'Remove whatever a killed snet has left in the kernel'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "selftest" -d 'Try everything in a sealed little internet on this very kernel; needs no root'
complete -c snet -n "__fish_snet_using_subcommand help; and not __fish_seen_subcommand_from check rules reload status explain use delay top link config cleanup selftest help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c snet -n "__fish_snet_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "import" -d 'Make a configuration of another program\'s file: SNET\'s config.json, the proxies of a Clash file, the outbounds of a sing-box file, shadowsocks\' config.json, links'
