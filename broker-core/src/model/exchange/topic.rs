//! Topic exchanges (AMQP 0-9-1 section 3.1.3.3): a binding's key is a pattern of words.
//!
//! Words are separated by dots and may be empty; the empty key has no words. In a pattern the word `*` stands for
//! exactly one word, and `#` for any number of words, none included; inside a word both are ordinary characters.
//!
//! The patterns form a trie with one node per prefix. A key is matched like a regular expression by its
//! automaton: the set of nodes that the words read so far can lead to is carried from word to word. No node is
//! in the set twice, so the time is bounded by words times nodes, where a search with backtracking takes
//! exponential time for patterns with many `#`.

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::model::binding::{BindingId, BindingList};

/// Bindings by pattern.
#[derive(Debug)]
pub(crate) struct TopicIndex {
    nodes: Slab<Node>,
}

/// The words of a pattern up to here, and the bindings whose pattern ends here.
#[derive(Debug, Default)]
struct Node {
    bindings: BindingList,
    /// Absent while no pattern goes on with an ordinary word: most nodes are leaves.
    words: Option<Box<FxHashMap<Box<str>, NodeId>>>,
    star: Option<NodeId>,
    hash: Option<NodeId>,
    /// The last word was `#`: the node stays reached whatever word follows.
    is_hash: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NodeId(std::num::NonZeroU32);

const ROOT: usize = 0;

impl NodeId {
    fn new(index: usize) -> Self {
        let id = u32::try_from(index).ok().and_then(std::num::NonZeroU32::new);
        Self(id.expect("the root is no child, and memory ends before 2^32 nodes"))
    }

    fn index(self) -> usize {
        self.0.get() as usize
    }
}

impl Default for TopicIndex {
    fn default() -> Self {
        let mut nodes = Slab::new();
        assert_eq!(nodes.insert(Node::default()), ROOT, "a new slab starts with its first slot");
        Self { nodes }
    }
}

impl Node {
    fn child(&self, word: &str) -> Option<NodeId> {
        match word {
            "*" => self.star,
            "#" => self.hash,
            _ => self.words.as_ref()?.get(word).copied(),
        }
    }

    fn set_child(&mut self, word: &str, child: NodeId) {
        match word {
            "*" => self.star = Some(child),
            "#" => self.hash = Some(child),
            _ => {
                self.words.get_or_insert_default().insert(word.into(), child);
            }
        }
    }

    fn remove_child(&mut self, word: &str) {
        match word {
            "*" => self.star = None,
            "#" => self.hash = None,
            _ => {
                if let Some(words) = &mut self.words {
                    words.remove(word);
                    if words.is_empty() {
                        self.words = None;
                    }
                }
            }
        }
    }

    fn is_unused(&self) -> bool {
        self.bindings.is_empty() && self.words.is_none() && self.star.is_none() && self.hash.is_none()
    }
}

/// Buffers of [`TopicIndex::find`], kept between calls.
#[derive(Debug, Default)]
pub(crate) struct TopicScratch {
    reached: Vec<usize>,
    next: Vec<usize>,
    /// The `#` nodes in `next`: only these can be reached twice by one word.
    hashes: FxHashSet<usize>,
}

/// The words of a key or pattern.
fn words(key: &str) -> impl Iterator<Item = &str> {
    // `split` finds one empty word in the empty string, where AMQP has no word.
    key.split('.').take(if key.is_empty() { 0 } else { usize::MAX })
}

impl TopicIndex {
    pub(crate) fn insert(&mut self, id: BindingId, pattern: &str) -> u32 {
        let mut node = ROOT;
        for word in words(pattern) {
            node = match self.nodes[node].child(word) {
                Some(child) => child.index(),
                None => {
                    let child = self.nodes.insert(Node { is_hash: word == "#", ..Node::default() });
                    self.nodes[node].set_child(word, NodeId::new(child));
                    child
                }
            };
        }
        self.nodes[node].bindings.push(id)
    }

    pub(crate) fn remove(&mut self, pattern: &str, place: u32) -> Option<BindingId> {
        let mut path = Vec::new();
        let mut node = ROOT;
        for word in words(pattern) {
            path.push((node, word));
            node = self.nodes[node].child(word)?.index();
        }
        let moved = self.nodes[node].bindings.swap_remove(place);
        while let Some((parent, word)) = path.pop() {
            if !self.nodes[node].is_unused() {
                break;
            }
            self.nodes.remove(node);
            self.nodes[parent].remove_child(word);
            node = parent;
        }
        moved
    }

    /// Calls `found` with the bindings of each pattern that matches the key, each pattern once.
    pub(crate) fn find(&self, key: &str, scratch: &mut TopicScratch, mut found: impl FnMut(&[BindingId])) {
        let TopicScratch { reached, next, hashes } = scratch;
        next.clear();
        hashes.clear();
        self.reach(ROOT, next, hashes);
        for word in words(key) {
            std::mem::swap(reached, next);
            next.clear();
            hashes.clear();
            for &index in &*reached {
                let node = &self.nodes[index];
                if node.is_hash {
                    self.reach(index, next, hashes);
                }
                if let Some(child) = node.words.as_ref().and_then(|words| words.get(word)) {
                    self.reach(child.index(), next, hashes);
                }
                if let Some(child) = node.star {
                    self.reach(child.index(), next, hashes);
                }
            }
            if next.is_empty() {
                return;
            }
        }
        for &index in &*next {
            let bindings = self.nodes[index].bindings.as_slice();
            if !bindings.is_empty() {
                found(bindings);
            }
        }
    }

    /// Adds a node, and as `#` stands for no word too, the `#` below it and the `#` below that.
    fn reach(&self, index: usize, next: &mut Vec<usize>, hashes: &mut FxHashSet<usize>) {
        let mut index = index;
        loop {
            let node = &self.nodes[index];
            if node.is_hash && !hashes.insert(index) {
                return;
            }
            next.push(index);
            match node.hash {
                Some(child) => index = child.index(),
                None => return,
            }
        }
    }

    #[cfg(test)]
    fn node_count(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::binding::tests::binding_id;

    /// The rule, as directly as it can be written.
    fn naive(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            (["#", rest @ ..], _) => {
                naive(rest, key) || matches!(key, [_, key_rest @ ..] if naive(pattern, key_rest))
            }
            (["*", rest @ ..], [_, key_rest @ ..]) => naive(rest, key_rest),
            ([word, rest @ ..], [key_word, key_rest @ ..]) => word == key_word && naive(rest, key_rest),
            _ => false,
        }
    }

    fn matches(pattern: &str, key: &str) -> bool {
        let mut index = TopicIndex::default();
        index.insert(binding_id(0), pattern);
        let mut hits = 0;
        index.find(key, &mut TopicScratch::default(), |list| hits += list.len());
        assert!(hits <= 1, "a pattern is found once");
        hits == 1
    }

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        for key in matching {
            assert!(matches(pattern, key), "{pattern:?} matches {key:?}");
        }
        for key in others {
            assert!(!matches(pattern, key), "{pattern:?} does not match {key:?}");
        }
    }

    #[test]
    fn words_are_compared_whole() {
        check("a.b", &["a.b"], &["a", "a.b.c", "a.B", "", "a."]);
        check("*", &["a", "*", "#"], &["", "a.b", "."]);
        check("a.*.c", &["a.b.c", "a..c"], &["a.c", "a.b.b.c"]);
        check("a#", &["a#"], &["a", "ab", "a.b"]);
    }

    #[test]
    fn empty_words_are_words_and_the_empty_key_has_none() {
        check("", &[""], &[".", "a"]);
        check("a..b", &["a..b"], &["a.b"]);
        check("*.*", &[".", "a.", ".b"], &["", "a"]);
        check("#", &["", "a", ".", "a.b.c"], &[]);
    }

    #[test]
    fn hash_stands_for_any_number_of_words() {
        check("a.#", &["a", "a.b", "a.b.c", "a."], &["", "b", "b.a"]);
        check("#.z", &["z", "a.z", "z.z", "a.b.z"], &["", "z.a"]);
        check("a.#.z", &["a.z", "a.b.z", "a.z.z"], &["a", "z", "a.z.b"]);
        check("#.#", &["", "a", "a.b"], &[]);
        check("#.*.#", &["a", "a.b", "."], &[""]);
        check("*.#.*", &["a.b", "a.b.c"], &["", "a"]);
    }

    #[test]
    fn many_hashes_take_no_exponential_time() {
        let pattern = ["#.a"; 60].join(".") + ".z";
        let key = ["a"; 127].join(".");
        assert!(!matches(&pattern, &key));
        assert!(matches(&["#"; 120].join("."), &key));
    }

    #[test]
    fn removed_patterns_leave_no_nodes() {
        let mut index = TopicIndex::default();
        let patterns = ["a.b.c", "a.b", "a.*.#", "#", "", "a.b"];
        let places: Vec<u32> = patterns.iter().map(|pattern| index.insert(binding_id(0), pattern)).collect();
        for (pattern, place) in patterns.iter().zip(places).rev() {
            index.remove(pattern, place);
        }
        assert_eq!(index.node_count(), 1);
    }

    fn key_of(word: &'static str) -> impl Strategy<Value = String> {
        prop::collection::vec(word, 0..7).prop_map(|words| words.join("."))
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(
            patterns in prop::collection::vec((key_of("[ab]|[*]|#|"), any::<bool>()), 0..20),
            keys in prop::collection::vec(key_of("[ab]|"), 1..10),
        ) {
            let mut index = TopicIndex::default();
            let mut placed = Vec::new();
            for (number, (pattern, _)) in patterns.iter().enumerate() {
                let place = index.insert(binding_id(u32::try_from(number).unwrap()), pattern);
                placed.push((pattern.clone(), place));
            }
            for number in (0..patterns.len()).filter(|number| patterns[*number].1) {
                let (pattern, place) = placed[number].clone();
                if let Some(moved) = index.remove(&pattern, place) {
                    let moved = (0..patterns.len())
                        .find(|other| binding_id(u32::try_from(*other).unwrap()) == moved)
                        .unwrap();
                    placed[moved].1 = place;
                }
            }
            let mut scratch = TopicScratch::default();
            for key in keys {
                let mut hits = Vec::new();
                index.find(&key, &mut scratch, |list| hits.extend_from_slice(list));
                hits.sort_unstable();
                let key_words: Vec<&str> = words(&key).collect();
                let expected: Vec<_> = patterns
                    .iter()
                    .enumerate()
                    .filter(|(_, (pattern, removed))| {
                        !removed && naive(&words(pattern).collect::<Vec<_>>(), &key_words)
                    })
                    .map(|(number, _)| binding_id(u32::try_from(number).unwrap()))
                    .collect();
                prop_assert_eq!(hits, expected, "key {:?}", key);
            }
        }
    }
}
