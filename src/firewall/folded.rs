//! The rules for a reader: first what is done, then with which sets; of a long set only how many
//! elements it has. What the kernel is told exactly, and in order, is the text that this is made
//! of ([`render`](super::backend::render)).

/// A set of so many elements is shown whole: interfaces, servers, the operator's own rules.
const FEW: usize = 16;

/// Begins the sets of the backend iptables.
const IPSET: &str = "# ipset restore";

/// Begins what a removal does, behind all rules.
const REMOVAL: &str = "# A stop, and";

/// Folds the text of either backend.
pub fn folded(text: &str) -> String {
    let mut folded = Folded::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("add ") {
            folded.elements.push(line);
            continue;
        }
        folded.end_of_set();
        if line.starts_with("\tset ") {
            let rest = lines.by_ref().take_while(|line| *line != "\t}");
            let block: Vec<&str> = std::iter::once(line).chain(rest).chain(["\t}"]).collect();
            // The empty line before it goes along.
            folded.rules.pop_if(|line| line.is_empty());
            folded.sets.push(nftables_set(&block));
        } else if line.starts_with("create ") || (line == IPSET && folded.rules.is_empty()) {
            folded.sets.push(line.to_owned());
        } else {
            if line == "}" || line.starts_with(REMOVAL) {
                folded.put_sets();
            }
            folded.rules.push(line.to_owned());
        }
    }
    folded.end_of_set();
    folded.put_sets();
    let mut text = folded.rules.join("\n");
    text.push('\n');
    text.trim_start_matches('\n').to_owned()
}

/// The text so far.
#[derive(Default)]
struct Folded<'a> {
    rules: Vec<String>,
    /// Sets that are to be put behind the rules.
    sets: Vec<String>,
    /// Elements of the last one.
    elements: Vec<&'a str>,
}

impl Folded<'_> {
    fn end_of_set(&mut self) {
        let elements = std::mem::take(&mut self.elements);
        match elements.len() {
            0..=FEW => self.sets.extend(elements.into_iter().map(str::to_owned)),
            count => self.sets.push(counted("", count)),
        }
    }

    fn put_sets(&mut self) {
        self.rules.append(&mut self.sets);
    }
}

/// The block of a set, which is told apart from others by an empty line.
fn nftables_set(block: &[&str]) -> String {
    let begin = block.iter().position(|line| line.trim_start().starts_with("elements = {"));
    let end = block.iter().rposition(|line| *line == "\t\t}");
    let mut lines: Vec<String> = vec![String::new()];
    match (begin, end) {
        (Some(begin), Some(end)) if end - begin - 1 > FEW => {
            lines.extend(block[..begin].iter().map(|line| (*line).to_owned()));
            lines.push(counted("\t\t", end - begin - 1));
            lines.extend(block[end + 1..].iter().map(|line| (*line).to_owned()));
        }
        _ => lines.extend(block.iter().map(|line| (*line).to_owned())),
    }
    lines.join("\n")
}

fn counted(indent: &str, count: usize) -> String {
    format!("{indent}# {count} elements, which `snet rules --sets` prints")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: [&str; 2] =
        [include_str!("iptables/golden/router.txt"), include_str!("nftables/golden/router.nft")];

    fn lines(text: &str) -> Vec<&str> {
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn nothing_but_the_order_changes_where_sets_are_short() {
        for text in GOLDEN {
            let folded = folded(text);
            assert_eq!(lines(&folded), lines(text));
            assert_ne!(folded, text);
            let place = |what: &[&str]| {
                let found = what.iter().filter_map(|what| folded.find(what)).min();
                found.expect("it is there")
            };
            let (rules, sets) = (place(&["*filter", "\tchain "]), place(&["create ", "\tset "]));
            assert!(rules < sets, "{folded}");
            assert!(!folded.contains("\n\n\n"), "{folded}");
        }
    }

    #[test]
    fn a_long_set_is_counted() {
        let many = |line: fn(usize) -> String| (0..17).map(line).collect::<String>();
        let elements = many(|n| format!("add a 10.0.{n}.0/24\n"));
        let b = "create b hash:ip\nadd b 192.0.2.1\n";
        let ipset = format!("{IPSET}\ncreate a hash:net\n{elements}{b}\n*nat\n\n{REMOVAL}\n");
        let expected =
            format!("*nat\n\n{IPSET}\ncreate a hash:net\n{}\n{b}{REMOVAL}\n", counted("", 17));
        assert_eq!(folded(&ipset), expected);
        let elements = many(|n| format!("\t\t\t10.0.{n}.0,\n"));
        let set = format!("\tset a {{\n\t\ttype x\n\t\telements = {{\n{elements}\t\t}}\n\t}}\n");
        let nft = format!("table inet snet {{\n\n{set}\n\tchain c {{\n\t}}\n}}\n");
        let folded = folded(&nft);
        let set = format!("\tset a {{\n\t\ttype x\n{}\n\t}}\n}}\n", counted("\t\t", 17));
        assert!(folded.ends_with(&set) && folded.starts_with("table inet snet {\n"), "{folded}");
    }
}
