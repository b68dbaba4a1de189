//! Files, or resources received, by name: each compiled alone, each with its last good version.
//!
//! envoyproxy/ratelimit takes all files or none. Here one that is wrong keeps
//! the others out of nothing: its last good version stays in service. If there
//! was none, what it would have limited is an error and not a pass.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::Problem;

use super::compile::compile;
use super::stats::Stats;
use super::tree::Domain;
use super::yaml::{self, Document};
use rules::config::index::ByText;

/// What is served at one moment.
#[derive(Debug, Default)]
pub struct Domains {
    served: ByText<Entry>,
    /// A source nobody could ever read: it may be about any domain.
    unread: Option<Arc<str>>,
    loaded: bool,
}

/// The rules of a domain, or why there are none.
#[derive(Debug)]
pub struct Entry {
    /// Its rules.
    pub domain: Domain,
    /// Whether one of its sources could be used.
    pub usable: bool,
    /// A source of it that never was good: what no rule knows may be governed by that.
    pub missing: Option<Arc<str>>,
}

/// What a domain's name leads to.
#[derive(Debug)]
pub enum Lookup<'i> {
    /// Its rules, and a source of it that is missing.
    Known(&'i Domain, Option<&'i Arc<str>>),
    /// Nobody knows it.
    Unknown,
    /// This source may be about it, and cannot be read.
    Broken(&'i Arc<str>),
    /// Nothing has been loaded yet.
    NotLoaded,
}

/// One source's content.
#[derive(Debug, Clone)]
pub enum Content {
    /// A file's text.
    Text(Arc<str>),
    /// A decoded resource.
    Decoded(Arc<Document>),
    /// It is there, but why it cannot be read is this.
    Unreadable(String),
}

/// What came of an update.
#[derive(Debug)]
pub struct Outcome {
    /// What to serve from now on.
    pub domains: Domains,
    /// What is wrong, by source.
    pub problems: Vec<(String, Problem)>,
    /// How many sources could not be used as they are.
    pub refused: usize,
}

/// The sources seen so far.
#[derive(Debug)]
pub struct Sources {
    merge: bool,
    stats: Arc<Stats>,
    good: BTreeMap<String, Arc<Document>>,
    /// Which source a domain is from, where only one may be.
    owners: HashMap<String, String>,
}

impl Domains {
    /// What `domain` leads to.
    pub(crate) fn look_up(&self, domain: &str) -> Lookup<'_> {
        match (self.served.get(domain), &self.unread) {
            (Some(entry), _) => Lookup::Known(&entry.domain, entry.missing.as_ref()),
            (None, Some(unread)) => Lookup::Broken(unread),
            (None, None) if !self.loaded => Lookup::NotLoaded,
            (None, None) => Lookup::Unknown,
        }
    }

    /// Whether there is no domain whose rules can be used.
    pub fn is_empty(&self) -> bool {
        // A domain of which nothing but a broken source is known has an entry, so that it can be refused.
        !self.served.values().any(|entry| entry.usable)
    }

    /// All domains, by name.
    pub fn all(&self) -> Vec<&Entry> {
        let mut entries: Vec<_> = self.served.values().collect();
        entries.sort_by(|a, b| a.domain.name.cmp(&b.domain.name));
        entries
    }
}

/// A source on its way into service.
#[derive(Clone)]
struct Candidate {
    name: String,
    document: Arc<Document>,
    /// Rather than what the source says now.
    last_good: bool,
}

impl Sources {
    /// Nothing seen yet. With `merge`, several sources may be of one domain.
    pub fn new(merge: bool, stats: Arc<Stats>) -> Self {
        Self { merge, stats, good: BTreeMap::new(), owners: HashMap::new() }
    }

    /// Compiles `sources`: those not among them any more are forgotten.
    pub fn update(&mut self, sources: BTreeMap<String, Content>) -> Outcome {
        let mut problems: Vec<(String, Problem)> = Vec::new();
        let mut refused: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut by_domain: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
        for (name, content) in sources {
            let (document, found, domain) = read(content);
            problems.extend(found.into_iter().map(|problem| (name.clone(), problem)));
            let candidate = match document {
                Some(document) => Some(Candidate { name: name.clone(), document, last_good: false }),
                None => {
                    refused.insert(name.clone(), domain);
                    self.last_good(&name)
                }
            };
            if let Some(candidate) = candidate {
                by_domain.entry(candidate.document.domain.clone()).or_default().push(candidate);
            }
        }
        if !self.merge {
            self.one_each(&mut by_domain, &mut problems, &mut refused);
        }
        let mut served = ByText::<Entry>::default();
        let mut good = BTreeMap::new();
        for (name, candidates) in by_domain {
            let (domain, used) = self.compile(candidates, &mut problems, &mut refused);
            good.extend(used.into_iter().map(|one| (one.name, one.document)));
            if let Some(domain) = domain {
                served.insert(name.as_str().into(), Entry { domain, usable: true, missing: None });
            }
        }
        let mut unread = None;
        for (source, domain) in refused.iter().filter(|(source, _)| !good.contains_key(*source)) {
            let source: Arc<str> = source.as_str().into();
            match domain {
                // Of a domain that is another's, that other is in charge.
                Some(domain) if !self.merge && served.contains_key(domain.as_str()) => {}
                Some(domain) => {
                    let empty = || Entry {
                        domain: Domain { name: domain.as_str().into(), ..Domain::default() },
                        usable: false,
                        missing: None,
                    };
                    served.entry(domain.as_str().into()).or_insert_with(empty).missing = Some(source);
                }
                None => unread = Some(source),
            }
        }
        self.good = good;
        Outcome { domains: Domains { served, unread, loaded: true }, problems, refused: refused.len() }
    }

    fn last_good(&self, name: &str) -> Option<Candidate> {
        let document = self.good.get(name)?.clone();
        Some(Candidate { name: name.to_owned(), document, last_good: true })
    }

    /// Leaves each domain one source: the one it had, else the first by name.
    fn one_each(
        &mut self,
        by_domain: &mut BTreeMap<String, Vec<Candidate>>,
        problems: &mut Vec<(String, Problem)>,
        refused: &mut BTreeMap<String, Option<String>>,
    ) {
        let mut owners = HashMap::new();
        for (domain, candidates) in by_domain.iter_mut() {
            let incumbent =
                self.owners.get(domain).and_then(|owner| candidates.iter().position(|one| one.name == *owner));
            let owner = candidates.swap_remove(incumbent.unwrap_or(0));
            for other in candidates.drain(..) {
                let message = format!(
                    "duplicate domain '{domain}' in config file: {} has it; put both in one file or set MERGE_DOMAIN_CONFIG=true",
                    owner.name
                );
                problems.push((other.name.clone(), Problem::error("domain", message)));
                refused.insert(other.name, Some(domain.clone()));
            }
            owners.insert(domain.clone(), owner.name.clone());
            candidates.push(owner);
        }
        self.owners = owners;
    }

    /// Compiles one domain; a source with a mistake is replaced by its last good version, or left out.
    fn compile(
        &self,
        mut candidates: Vec<Candidate>,
        problems: &mut Vec<(String, Problem)>,
        refused: &mut BTreeMap<String, Option<String>>,
    ) -> (Option<Domain>, Vec<Candidate>) {
        loop {
            if candidates.is_empty() {
                return (None, candidates);
            }
            let documents: Vec<&Document> = candidates.iter().map(|one| &*one.document).collect();
            let (domain, found) = compile(&documents, &self.stats);
            let wrong: std::collections::BTreeSet<usize> =
                found.iter().filter(|(_, problem)| problem.is_error()).map(|(number, _)| *number).collect();
            problems.extend(found.into_iter().filter_map(|(number, problem)| {
                let one = candidates.get(number).filter(|one| !one.last_good)?;
                Some((one.name.clone(), problem))
            }));
            if wrong.is_empty() {
                return (Some(domain), candidates);
            }
            let next = candidates.iter().enumerate().filter_map(|(number, one)| {
                if !wrong.contains(&number) {
                    return Some(one.clone());
                }
                refused.insert(one.name.clone(), Some(one.document.domain.clone()));
                let before = if one.last_good { None } else { self.last_good(&one.name) };
                before.filter(|before| before.document.domain == one.document.domain)
            });
            candidates = next.collect();
        }
    }
}

fn read(content: Content) -> (Option<Arc<Document>>, Vec<Problem>, Option<String>) {
    match content {
        Content::Text(text) => {
            let (document, problems) = yaml::read(&text);
            let domain = document.is_none().then(|| yaml::domain_of(&text)).flatten();
            let document = document.map(Arc::new);
            match document {
                Some(document) if document.domain.is_empty() => {
                    let mut problems = problems;
                    problems.push(Problem::error("domain", "config file cannot have empty domain"));
                    (None, problems, None)
                }
                document => (document, problems, domain),
            }
        }
        Content::Decoded(document) if document.domain.is_empty() => {
            (None, vec![Problem::error("domain", "config file cannot have empty domain")], None)
        }
        Content::Decoded(document) => (Some(document), Vec::new(), None),
        Content::Unreadable(why) => (None, vec![Problem::error("", why)], None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> BTreeMap<String, Content> {
        files.iter().map(|(name, text)| ((*name).to_owned(), Content::Text((*text).into()))).collect()
    }

    const A: &str = "domain: a\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]";
    const B: &str = "domain: b\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]";
    const BAD_A: &str = "domain: a\ndescriptors: [{key: k, rate_limit: {unit: eon}}]";

    fn known(domains: &Domains, name: &str) -> &'static str {
        match domains.look_up(name) {
            Lookup::Known(domain, missing) => match (domain.level.keys.is_empty(), missing) {
                (false, None) => "served",
                (true, Some(_)) => "broken",
                (false, Some(_)) => "in part",
                (true, None) => "empty",
            },
            Lookup::Unknown => "unknown",
            Lookup::Broken(_) => "may be broken",
            Lookup::NotLoaded => "not loaded",
        }
    }

    #[test]
    fn a_broken_file_keeps_its_last_good_version_and_harms_no_other() {
        let mut sources = Sources::new(false, Stats::new());
        assert_eq!(known(&Domains::default(), "a"), "not loaded");
        let first = sources.update(texts(&[("a.yaml", A), ("b.yaml", "domain: [")]));
        assert_eq!((known(&first.domains, "a"), known(&first.domains, "b")), ("served", "may be broken"));
        assert_eq!(first.refused, 1);
        let second = sources.update(texts(&[("a.yaml", BAD_A), ("b.yaml", B)]));
        assert_eq!((known(&second.domains, "a"), known(&second.domains, "b")), ("served", "served"));
        assert_eq!(known(&second.domains, "c"), "unknown");
        assert_eq!(second.refused, 1);
        let third = sources.update(texts(&[("b.yaml", B)]));
        assert_eq!((known(&third.domains, "a"), third.refused), ("unknown", 0));
        let fourth = sources.update(texts(&[("a.yaml", BAD_A)]));
        assert_eq!((known(&fourth.domains, "a"), known(&fourth.domains, "b")), ("broken", "unknown"));
        assert!(fourth.domains.is_empty(), "there is no domain to be healthy with");
        assert!(!first.domains.is_empty());
    }

    #[test]
    fn a_second_file_of_a_domain_is_refused_unless_merged() {
        let mut sources = Sources::new(false, Stats::new());
        let alone = sources.update(texts(&[("z.yaml", A)]));
        assert_eq!(alone.refused, 0);
        let more = "domain: a\ndescriptors: [{key: other}]";
        let both = sources.update(texts(&[("a.yaml", more), ("z.yaml", A)]));
        assert_eq!(both.refused, 1);
        assert_eq!(both.problems[0].0, "a.yaml", "who came first stays");
        assert_eq!(known(&both.domains, "a"), "served");

        let mut sources = Sources::new(true, Stats::new());
        let both = sources.update(texts(&[("a.yaml", more), ("z.yaml", A)]));
        assert_eq!((both.refused, known(&both.domains, "a")), (0, "served"));
        let twice = sources.update(texts(&[("a.yaml", more), ("b.yaml", A), ("z.yaml", A)]));
        assert!(twice.problems[0].1.message.contains("duplicate descriptor composite key 'a.k'"), "{twice:?}");
        assert_eq!(known(&twice.domains, "a"), "in part");
    }
}
