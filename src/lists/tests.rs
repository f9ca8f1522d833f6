//! Lines as they stand in published lists.

use super::*;
use crate::domain::{Name, NameList, NameListBuilder};
use crate::ipset::IpSet;
use proptest::prelude::*;

/// A list, and what came of its lines.
struct Seen {
    list: NameList,
    report: ListReport,
}

impl Seen {
    fn has(&self, text: &str) -> bool {
        let name: Name = text.parse().unwrap();
        self.list.find(name.as_wire()).is_some()
    }

    /// Each reason with its number of lines.
    fn reasons(&self) -> Vec<(UnusedReason, usize)> {
        self.report.passed_over.iter().map(|one| (one.reason, one.count)).collect()
    }

    fn holds(&self, names: &[&str], others: &[&str]) {
        for name in names {
            assert!(self.has(name), "{name} is not in it: {}", self.report);
        }
        for name in others {
            assert!(!self.has(name), "{name} is in it: {}", self.report);
        }
    }
}

fn read_for(list_use: ListUse, bytes: &[u8], files: &[(&str, &str)]) -> Seen {
    let mut list = NameListBuilder::default();
    let mut include = |name: &str| {
        files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.as_bytes().to_vec())
    };
    let report = read_names(bytes, list_use, &mut include, &mut list);
    Seen { list: list.build(), report }
}

fn read(text: &str) -> Seen {
    read_for(ListUse::Block, text.as_bytes(), &[])
}

#[test]
fn every_format() {
    let seen = read("a.example\r\n# no\n\n*.b.example # c\n.c.example ## d\n");
    seen.holds(&["a.example", "b.example", "c.example"], &["d", "no"]);
    assert_eq!(seen.report.used, [(ListFormat::Names, 3)]);
    let seen = read(
        "127.0.0.1 localhost\n0.0.0.0 ads.example t.example\n::1 ip6-localhost\n0.0.0.0 0.0.0.0",
    );
    seen.holds(&["ads.example", "t.example"], &["localhost", "ip6-localhost", "x.ads.example"]);
    assert_eq!(seen.report.used, [(ListFormat::Hosts, 1)]);
    assert_eq!(seen.list.len(), 2);
    let seen = read(
        "server=/a.example/b.example/192.0.2.1\naddress=/c.example/\nserver=/x.a.example/#\n\
         local=/e.example/\naddress=/f.example/0.0.0.0\naddress=/g.example/#",
    );
    seen.holds(
        &["a.example", "b.example", "c.example", "e.example", "f.example", "g.example"],
        &["x.a.example"],
    );
    assert_eq!(seen.report.used, [(ListFormat::Dnsmasq, 6)]);
}

#[test]
fn adblock_rules_about_names() {
    let seen = read(
        "[Adblock Plus 2.0]\n! a comment\n||Ads.example^\n||t.example^$important\n\
         @@||good.ads.example^\n@@||x.example^|\n||a.example^$third-party\n\
         ||b.example/path\n||c*.example^\n/banner[0-9]/\nd.example##.banner\n\
         e.example#@#.banner\n@@/f/\nh.example$$script[x]",
    );
    assert!(seen.reasons().contains(&(UnusedReason::Element, 3)), "{}", seen.report);
    seen.holds(
        &["ads.example", "t.example"],
        &[
            "good.ads.example",
            "x.example",
            "a.example",
            "b.example",
            "c.example",
            "d.example",
            "e.example",
        ],
    );
    assert_eq!(seen.list.len(), 4);
    assert_eq!(seen.report.lines_passed_over(), 8);
    let seen = read(
        "||a.example^$important\n@@||a.example^\n||b.example^\n@@||x.b.example^\n||y.x.b.example^\n\
         ||c.example^\n||c.example^$badfilter\n||*.d.example^\n|e.example^\nf.example^\n\
         ||g.example^$dnstype=AAAA\n||h.example\n||192.0.2.1^\n\
         ||i.example^$denyallow=com,important",
    );
    seen.holds(
        &["x.a.example", "b.example", "z.d.example", "e.example", "x.f.example", "h.example"],
        &[
            "x.b.example",
            "y.x.b.example",
            "c.example",
            "d.example",
            "x.e.example",
            "g.example",
            "i.example",
        ],
    );
    assert_eq!(seen.reasons(), [(UnusedReason::Option, 2), (UnusedReason::Address, 1)]);
}

#[test]
fn v2fly_text() {
    let files = [
        ("other", "x.example @cn\ny.example @ads\nfull:z.example @cn @ads\ninclude:deep @cn"),
        ("deep", "include:deep @a\nq.example"),
    ];
    let text = "domain:a.example\nfull:b.example # why\nkeyword:tracker\n\
                regexp:^ad\\d+\\.c\\.example$\n\
                d.example @cn @ads &brand\ninclude:other @cn @-ads\ninclude:missing\n\
                include:../up\ninclude:/etc/passwd\nregexp:(\nkeyword:\ninclude:deep\n";
    let seen = read_for(ListUse::Domestic, text.as_bytes(), &files);
    seen.holds(
        &[
            "x.a.example",
            "b.example",
            "mytracker.example",
            "ad12.c.example",
            "d.example",
            "x.example",
        ],
        &["x.b.example", "c.example", "y.example", "z.example", "etc"],
    );
    assert_eq!(seen.reasons(), [(UnusedReason::Include, 3), (UnusedReason::Pattern, 2)]);
    assert!(seen.has("q.example"));
    assert_eq!(
        seen.report.to_string(),
        "14 lines used (v2fly 13, plain 1), 5 passed over: 3 with a file that cannot be included \
         (line 7 \"include:missing\", line 8 \"include:../up\", line 9 \"include:/etc/passwd\"); 2 \
         with a keyword or an expression that cannot be used (line 10 \"regexp:(\", line 11 \
         \"keyword:\")"
    );
}

#[test]
fn includes_stay_in_the_folder_and_have_a_depth() {
    let outside = ["../up", "/etc/passwd", ".hidden", "..", "a/b"].map(|file| (file, "x.example"));
    let text = outside.map(|(file, _)| format!("include:{file}\n")).concat();
    let seen = read_for(ListUse::Block, text.as_bytes(), &outside);
    assert_eq!(seen.reasons(), [(UnusedReason::Include, 5)]);
    assert!(!seen.has("x.example"));

    let deep: Vec<(String, String)> = (1..=20)
        .map(|n| (format!("f{n}"), format!("n{n}.example\ninclude:f{}\n", n + 1)))
        .collect();
    let deep: Vec<(&str, &str)> =
        deep.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let seen = read_for(ListUse::Block, b"include:f1\n", &deep);
    seen.holds(&["n1.example", "n16.example"], &["n17.example"]);
    assert_eq!(seen.reasons(), [(UnusedReason::Include, 1)]);
}

/// A list that was downloaded may include any file beside it, also one with a password.
#[test]
fn nothing_of_an_included_file_is_shown() {
    let files = [("snet.toml", "[[proxy]]\npassword = \"hunter2\"\n")];
    let seen = read_for(ListUse::Block, b"a.example\ninclude:snet.toml\n", &files);
    let said = seen.report.to_string();
    assert!(said.contains("line 2 of snet.toml"), "{said}");
    assert!(!said.contains("hunter2") && !format!("{:?}", seen.report).contains("hunter2"));
}

#[test]
fn gfwlist() {
    use base64::Engine;
    let text = "[AutoProxy 0.2.9]\n! Checksum: x\n||a.example\n|http://b.example\n\
                |https://c.example/path\n.d.example/x\n@@||cn.a.example\n@@|http://e.example\n\
                /^https?:\\/\\/f\\.example/\n||192.0.2.1\ng.example\n*h*.example\n\
                |http://*.i.example/\n|https://*.j.example\n|http://k*.example/";
    let mut packed = base64::engine::general_purpose::STANDARD.encode(text);
    for at in (1..packed.len() / 64 + 1).rev() {
        packed.insert_str(at * 64, "\r\n");
    }
    let plain = read_for(ListUse::Foreign, text.as_bytes(), &[]);
    let marked = format!("\u{feff}{packed}");
    assert_eq!(read_for(ListUse::Foreign, marked.as_bytes(), &[]).report, plain.report);
    let seen = read_for(ListUse::Foreign, packed.as_bytes(), &[]);
    assert_eq!(seen.report, plain.report);
    seen.holds(
        &[
            "www.a.example",
            "b.example",
            "c.example",
            "x.d.example",
            "g.example",
            "x.i.example",
            "x.j.example",
        ],
        &["cn.a.example", "e.example", "f.example", "h.example", "i.example", "k.example"],
    );
    let seen = read_for(ListUse::Block, packed.as_bytes(), &[]);
    seen.holds(
        &["a.example", "g.example"],
        &["b.example", "c.example", "d.example", "x.j.example"],
    );
}

#[test]
fn an_address_blocks_or_is_passed_over() {
    for list_use in [ListUse::Block, ListUse::Domestic, ListUse::Foreign] {
        let text = "192.0.2.1 a.example\n127.0.0.1 b.example\n0 c.example\n:: d.example\n\
                    address=/e.example/192.0.2.1\naddress=/f.example/::\nno-resolv\n\
                    server=192.0.2.1\n\
                    ipset=/g.example/set\nnftset=/h.example/4#inet#t#s";
        let seen = read_for(list_use, text.as_bytes(), &[]);
        seen.holds(
            &["b.example", "c.example", "d.example", "f.example"],
            &["a.example", "e.example"],
        );
        assert_eq!(seen.has("g.example"), list_use != ListUse::Block);
        assert_eq!(seen.has("h.example"), list_use != ListUse::Block);
    }
}

#[test]
fn odd_lines_harm_no_neighbour() {
    let odd: [(&[u8], Option<UnusedReason>); 17] = [
        (b"_popAds.", Some(UnusedReason::Unknown)),
        (b"_naim.b_dd", Some(UnusedReason::Unknown)),
        (b"fe80::1%lo0 localhost", None),
        (b"255.255.255.255\tbroadcasthost", None),
        (b".com.cn/js/ad.", Some(UnusedReason::Path)),
        (b"*-ad.example.cn*", Some(UnusedReason::Wildcard)),
        (b"-ad.example.cn^", Some(UnusedReason::Wildcard)),
        (b"b..example", Some(UnusedReason::Unknown)),
        (b"server=/x", Some(UnusedReason::Unknown)),
        (b"foo bar", Some(UnusedReason::Unknown)),
        ("例子.中国".as_bytes(), Some(UnusedReason::NotAscii)),
        (b"\xff\xfe.example", Some(UnusedReason::NotAscii)),
        (b"192.0.2.1", Some(UnusedReason::Address)),
        (b".", Some(UnusedReason::Unknown)),
        (b"||^", Some(UnusedReason::Unknown)),
        (b"0.0.0.0 a_b..c", Some(UnusedReason::Unknown)),
        (b"http://x.example/", Some(UnusedReason::Path)),
    ];
    for (line, reason) in odd {
        let text = [b"\xef\xbb\xbfa.example\r\n", line, b"\r\n\xef\xbb\xbfz.example"].concat();
        let seen = read_for(ListUse::Block, &text, &[]);
        seen.holds(&["a.example", "z.example"], &["example", "x.example"]);
        let reasons: Vec<UnusedReason> = seen.reasons().iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, Vec::from_iter(reason), "{}", String::from_utf8_lossy(line));
        assert_eq!(seen.list.len(), 2, "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn comments_of_every_kind() {
    let text = "# a\n! b\n; c.example\n// d.example\n[e]\nf.example // g.example\nh.example ; i\n\
                j.example#k\nl.example\t! m\n0.0.0.0 n.example #o.example\n";
    let seen = read(text);
    seen.holds(
        &["f.example", "h.example", "j.example", "l.example", "n.example"],
        &["c.example", "d.example", "g.example", "o.example"],
    );
    assert_eq!((seen.list.len(), seen.report.lines_passed_over()), (5, 0));
}

#[test]
fn a_file_that_is_no_list_is_named() {
    for (bytes, words) in [
        (&b"\x1f\x8b\x08\x00"[..], "a compressed file"),
        (b"\xff\xfea\0.\0b\0\r\0\n\0", "UTF-16"),
        (b"<!DOCTYPE html>\n<html>\n", "a web page"),
        (b"\x0a\x0b\x00\x01\x02", "no text"),
    ] {
        let seen = read_for(ListUse::Block, bytes, &[]);
        assert!(seen.report.used.is_empty(), "{}", seen.report);
        assert!(seen.report.to_string().contains(words), "{}", seen.report);
        let (_, report) = read_prefixes(bytes);
        assert!(report.to_string().contains(words), "{report}");
    }
}

fn addresses(text: &str) -> (IpSet, ListReport) {
    read_prefixes(text.as_bytes())
}

#[test]
fn every_format_of_addresses() {
    let (set, report) = addresses(
        "\u{feff}# c\r\n192.0.2.0/24\r\n198.51.100.1 ; x\n! y\n// z\n2001:db8::/32 # i\n\
         203.0.113.1-203.0.113.3\n192.0.2.250 192.0.3.5\n",
    );
    assert_eq!(report.used, [(ListFormat::Prefixes, 5)]);
    assert_eq!((set.count_v4(), set.prefixes_v6().count()), (266, 1));

    let (set, report) = addresses(
        "2|apnic|20260101|9|19830613|20251231|+1000\napnic|*|ipv4|*|3|summary\n\
         apnic|CN|ipv4|192.0.2.0|384|20110414|allocated\n\
         apnic|JP|ipv4|198.51.100.0|256|2011|assigned\n\
         apnic|CN|ipv6|2001:db8::|32|20110414|allocated\napnic|CN|asn|1|1|2011|allocated\n\
         apnic|CN|ipv4|255.255.255.0|512|2011|allocated\n",
    );
    assert_eq!(report.used, [(ListFormat::Delegated, 2)]);
    assert_eq!((set.count_v4(), set.prefixes_v6().count()), (384, 1));
    let reasons: Vec<_> = report.passed_over.iter().map(|one| (one.reason, one.count)).collect();
    assert_eq!(reasons, [(UnusedReason::OtherCountry, 2), (UnusedReason::Unknown, 1)]);

    let (set, report) = addresses(
        "create cn hash:net family inet hashsize 4096 maxelem 65536\nadd cn 192.0.2.0/25\n\
         add cn 198.51.100.1 timeout 0\n",
    );
    assert_eq!((report.used, set.count_v4()), (vec![(ListFormat::Ipset, 2)], 129));

    let (set, report) = addresses(
        "table inet t {\n\tset cn {\n\t\ttype ipv4_addr\n\t\tflags interval\n\
         \t\telements = { 192.0.2.0/25, 198.51.100.1,\n\
         \t\t\t     203.0.113.0-203.0.113.1 }\n\t}\n}\n",
    );
    assert_eq!((report.used, set.count_v4()), (vec![(ListFormat::Nftables, 2)], 131));

    let (set, report) = addresses("192.0.2.1/24\nx\n192.0.2.0/25\n203.0.113.1, y\n9-1\n");
    assert_eq!(set.count_v4(), 128, "half a line is no line: {report}");
    assert_eq!(report.lines_passed_over(), 4);
}

proptest! {
    /// Whatever stands between two lines, they are read.
    #[test]
    fn any_bytes(
        junk in prop::collection::vec(any::<u8>(), 0..200),
        // Without a "t" no exception can name them.
        text in "[a-su-z.*|@^$:=/#!0-9 ,-]{0,60}",
    ) {
        for junk in [&junk[..], text.as_bytes()] {
            let bytes = [b"first.test\n", junk, b"\nlast.test\n"].concat();
            let seen = read_for(ListUse::Foreign, &bytes, &[]);
            for name in ["first.test", "last.test"] {
                prop_assert!(seen.has(name), "{}", seen.report);
            }
            let bytes = [b"192.0.2.1\n", junk, b"\n192.0.2.2\n"].concat();
            let (set, _) = read_prefixes(&bytes);
            for address in ["192.0.2.1", "192.0.2.2"] {
                prop_assert!(set.contains(address.parse().unwrap()));
            }
        }
    }
}
