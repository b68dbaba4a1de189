//! From a snapshot to the index that answers requests, by what changed since the one before.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use api::contract::config_id;
use api::gloo::auth_config::{self, AuthConfig, Expression};
use api::problem::has_errors;
use api::{Kind, Meta as _, Name, Object, ObjectRef, Problem, Secret, Snapshot};
use tracing::error;

use crate::Settings;
use crate::chain::{Chain, Plan};
use crate::edit::Admits;
use crate::methods::hashing::Hashing;
use crate::methods::{self, Accepts, Context, Inputs, Method, Read, Remotes, Signing, Trust, Whose};
use crate::select::{Labelled, Need, Readers, Secrets};

pub use crate::no_chain::NoChain;

/// More warnings than this about one AuthConfig are only counted.
const MOST_WARNINGS: usize = 20;

/// Compiles snapshots.
#[derive(Debug)]
pub struct Compiler {
    context: Context,
    removed_grace: Duration,
    replaced_grace: Duration,
}

/// A snapshot that was compiled, and what is needed to compile the next one by what it changes.
#[derive(Debug, Clone, Default)]
pub struct Compilation {
    /// What came of it.
    pub index: Arc<Index>,
    /// The AuthConfigs that were compiled or forgotten for it; all others are as before.
    pub touched: BTreeSet<Name>,
    snapshot: Snapshot,
    labelled: Labelled,
    readers: Readers,
}

/// All AuthConfigs of one snapshot, by `config_id`, and those removed or replaced lately. Holds no key.
#[derive(Debug, Default)]
pub struct Index {
    /// Revision of the snapshot; 0 before the first.
    pub revision: u64,
    /// Whether something could not be read that may hold AuthConfigs or Secrets: then nothing passes.
    pub withheld: bool,
    configs: Configs,
    /// Those that are not declared any more, and until when they answer.
    removed: BTreeMap<Name, Instant>,
    /// Versions that read other headers than the one that is declared: Envoy goes on bringing those for a moment.
    older: BTreeMap<Name, Vec<Arc<Compiled>>>,
}

type Configs = HashMap<Arc<str>, Arc<Compiled>, ahash::RandomState>;

/// One AuthConfig of the index.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Namespace and name.
    pub name: Name,
    /// The chain, or none if the AuthConfig was refused and everything it governs is denied.
    pub chain: Option<Arc<Chain>>,
    /// What is wrong or worth knowing beyond the object itself.
    pub problems: Vec<Problem>,
    /// How many credentials its steps accept in all.
    pub accepts: Accepts,
    /// It is not declared any more, and answers until then.
    pub removed_until: Option<Instant>,
    /// The headers on which its answers depend, as a question says them; none if on all.
    reads: Option<String>,
    source: Option<Arc<AuthConfig>>,
}

/// A step before it is compiled: where it stands, what is written, and what it reads.
type Gathered<'a> = (String, &'a dyn Method, Read);

impl Compilation {
    /// To go on from `index` alone: everything is compiled anew, and what was removed keeps its grace.
    pub fn resuming(index: Arc<Index>) -> Self {
        Self { index, ..Self::default() }
    }
}

impl Compiler {
    /// A compiler of a process with these settings.
    pub fn new(settings: &Settings) -> Self {
        let context = Context {
            hashing: Arc::new(Hashing::new()),
            user_id_header: settings.user_id_header.to_ascii_lowercase().into(),
            trust: Trust::beside(settings.https_passthrough_ca_cert.as_ref()),
            remotes: Remotes::default(),
            signing: Signing::with(settings.signing_key.as_ref()),
        };
        let (removed_grace, replaced_grace) = (settings.removed_grace(), settings.replaced_grace());
        Self { context, removed_grace, replaced_grace }
    }

    /// Compiles `snapshot` as of `now`, going on from what was compiled `before`.
    ///
    /// An AuthConfig that is gone answers for a while longer: Envoy goes on asking for it until its
    /// routes are replaced. It does so with the Secrets of `snapshot`, so that a key that is revoked
    /// is revoked there as well. So does, for a moment, a version that reads other headers than the one
    /// that takes its place and lets in nobody else, for questions that bring just these.
    pub fn compile(&self, before: Compilation, snapshot: &Snapshot, now: Instant) -> Compilation {
        let Compilation { index: was, snapshot: old, mut labelled, mut readers, .. } = before;
        let mut touched = touched_by_secrets(&old, snapshot, &mut labelled, &readers, &was);
        touched.extend(snapshot.auth_configs.changed(&old.auth_configs).cloned());
        let broken = snapshot.broken.changed(&old.broken).filter(|broken| broken.kind == Kind::AuthConfig);
        touched.extend(broken.map(|broken| broken.name.clone()));
        touched.extend(was.removed.iter().filter(|(_, until)| **until <= now).map(|(name, _)| name.clone()));
        // Of a snapshot that is not known any more, whatever it had may be gone.
        if old.revision != was.revision {
            touched.extend(was.configs.values().map(|compiled| compiled.name.clone()));
        }

        let inputs = Inputs { secrets: Secrets { snapshot, labelled: &labelled }, seals: RefCell::default() };
        let (mut configs, mut removed, mut older) = (was.configs.clone(), was.removed.clone(), was.older.clone());
        end_older(&mut older, &mut readers, &configs, now);
        for name in &touched {
            let id = config_id(name);
            let previous = configs.remove(id.as_str());
            let before = older.remove(name).unwrap_or_default();
            for source in previous.iter().chain(&before).filter_map(|version| version.source.as_deref()) {
                readers.remove(name, &needs(name, source));
            }
            removed.remove(name);
            let Some(compiled) = self.one(name, snapshot, &inputs, previous.as_deref(), now) else { continue };
            let before = previous.iter().chain(&before);
            let kept = self.kept(name, &compiled, before.map(AsRef::as_ref), &inputs, now);
            for source in std::iter::once(&compiled).chain(&kept).filter_map(|version| version.source.as_deref()) {
                readers.insert(name, &needs(name, source));
            }
            removed.extend(compiled.removed_until.map(|until| (name.clone(), until)));
            configs.insert(id.into(), Arc::new(compiled));
            for version in kept {
                older.entry(name.clone()).or_default().push(Arc::new(version));
            }
        }
        let withheld = !snapshot.withheld.is_empty();
        let index = Index { revision: snapshot.revision, withheld, configs, removed, older };
        Compilation { index: Arc::new(index), touched, snapshot: snapshot.clone(), labelled, readers }
    }

    /// The AuthConfig called `name` as it is in `snapshot`, or in its grace; None where it is neither.
    fn one(
        &self,
        name: &Name,
        snapshot: &Snapshot,
        inputs: &Inputs<'_>,
        previous: Option<&Compiled>,
        now: Instant,
    ) -> Option<Compiled> {
        if let Some(object) = snapshot.auth_configs.get(name) {
            return Some(self.guarded(name, object, inputs, BTreeSet::new()));
        }
        if let Some(broken) = snapshot.broken.get(&ObjectRef { kind: Kind::AuthConfig, name: name.clone() }) {
            let source = match &broken.partial {
                Some(Object::AuthConfig(partial)) => Some(partial.clone()),
                _ => None,
            };
            return Some(Compiled::refused(name, source, broken.problems.clone()));
        }
        let previous = previous.filter(|previous| previous.chain.is_some())?;
        let until = previous.removed_until.unwrap_or(now + self.removed_grace);
        let object = previous.source.as_ref().filter(|_| until > now)?;
        Some(Compiled { removed_until: Some(until), ..self.guarded(name, object, inputs, BTreeSet::new()) })
    }

    /// The versions `before` that go on answering beside `compiled` until their time is over: those that read other
    /// headers, and let in nobody whom `compiled` does not.
    fn kept<'a>(
        &self,
        name: &Name,
        compiled: &Compiled,
        before: impl Iterator<Item = &'a Compiled>,
        inputs: &Inputs<'_>,
        now: Instant,
    ) -> Vec<Compiled> {
        let mut kept: Vec<Compiled> = Vec::new();
        let mut admits = None;
        for version in before.filter(|version| version.reads.is_some()) {
            let known = kept.iter().chain([compiled]).any(|known| known.reads == version.reads);
            let most = now + self.replaced_grace;
            let until = version.removed_until.map_or(most, |until| until.min(most));
            let Some(object) = version.source.as_ref().filter(|_| until > now && !known) else { continue };
            // What is refused is refused, whoever asks.
            let Some(admits) = admits.get_or_insert_with(|| compiled.admits()) else { break };
            if version.admits().is_some_and(|before| before.within(admits)) {
                // What the new one proves no client may say by itself.
                let new = compiled.source.as_ref().map(|new| self.granted(new)).unwrap_or_default();
                kept.push(Compiled { removed_until: Some(until), ..self.guarded(name, object, inputs, new) });
            }
        }
        kept
    }

    /// The headers that may be set for a request by `object`.
    fn granted(&self, object: &AuthConfig) -> BTreeSet<String> {
        object.spec.grants(&self.context.user_id_header)
    }

    /// A fault of ours refuses the one AuthConfig that it meets, and no other waits for it.
    fn guarded(
        &self,
        name: &Name,
        object: &Arc<AuthConfig>,
        inputs: &Inputs<'_>,
        sealed: BTreeSet<String>,
    ) -> Compiled {
        catch_unwind(AssertUnwindSafe(|| self.auth_config(name, object, inputs, sealed))).unwrap_or_else(|_| {
            error!(%name, "compiling an AuthConfig panicked; it is refused");
            let problem = Problem::error("spec", "compiling it failed by a fault of Waykeeper's; please report it");
            Compiled::refused(name, Some(object.clone()), vec![problem])
        })
    }

    /// `object`, which takes the headers `sealed` out of requests besides those that it may set.
    fn auth_config(
        &self,
        name: &Name,
        object: &Arc<AuthConfig>,
        inputs: &Inputs<'_>,
        mut sealed: BTreeSet<String>,
    ) -> Compiled {
        let spec = &object.spec;
        let refused = |problems| Compiled::refused(name, Some(object.clone()), problems);
        // Admission has refused these already; nothing unenforced may get past a mistake there.
        let own: Vec<_> = auth_config::validate(object).into_iter().filter(Problem::is_error).collect();
        if has_errors(&own) {
            return refused(own);
        }

        let mut problems = Vec::new();
        let mut gathered: Vec<Gathered<'_>> = Vec::with_capacity(spec.configs.len());
        for (index, config) in spec.configs.iter().enumerate() {
            let Some((kind, method)) = methods::of(config) else {
                return refused(vec![Problem::error(format!("spec.configs[{index}]"), "not implemented yet")]);
            };
            let field = format!("spec.configs[{index}].{kind}");
            let mut read = method.reads(&field, &name.namespace, inputs);
            problems.append(&mut read.problems);
            gathered.push((field, method, read));
        }
        let names: Vec<String> = (0..spec.configs.len()).map(|index| spec.step_name(index)).collect();
        let plan = match spec.expression().map(Expression::parse) {
            None => Some(Plan::in_order(names.len())),
            Some(parsed) => parsed.ok().and_then(|expression| Plan::of(&expression, &names)),
        };
        let Some(plan) = plan else {
            return refused(vec![Problem::error("spec.booleanExpr", "cannot be evaluated")]);
        };

        let mut steps = Vec::with_capacity(gathered.len());
        let mut accepts = Accepts::default();
        for ((field, method, read), step) in gathered.iter().zip(&names) {
            let compiled = method.compile(field, Whose { config: name, step }, read, &self.context);
            problems.extend(compiled.problems);
            accepts += compiled.accepts;
            steps.push(compiled.step);
        }
        shorten(&mut problems);
        let user_header = self.context.user_id_header.clone();
        sealed.append(&mut self.granted(object));
        let seal = inputs.seal(sealed);
        // Only other servers are shown anything.
        let declared = match accepts.servers {
            0 => Arc::default(),
            _ => {
                let mut declared = spec.granted_by_declared();
                declared.insert(user_header.to_string());
                inputs.seal(declared)
            }
        };
        let chain = Chain {
            name: name.clone(),
            steps,
            plan,
            seal,
            declared,
            user_header,
            shares_state: gathered.iter().any(|(_, method, _)| method.listens()),
            fail_on_redirect: spec.fail_on_redirect,
            meters: OnceLock::new(),
        };
        Compiled {
            name: name.clone(),
            chain: Some(Arc::new(chain)),
            problems,
            accepts,
            removed_until: None,
            reads: spec.reads().map(|reads| reads.to_string()),
            source: Some(object.clone()),
        }
    }
}

impl Index {
    /// The chain that `config_id` names at the time `now`, or how to answer without one. A question that
    /// brings only some headers is one for the version that reads these.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, config_id: Option<&str>, brings: Option<&str>, now: Instant) -> Result<&Arc<Chain>, NoChain> {
        if self.withheld {
            return Err(NoChain::Withheld);
        }
        let id = config_id.filter(|id| !id.is_empty()).ok_or(NoChain::Unnamed)?;
        let compiled = self.configs.get(id).ok_or(NoChain::Unknown)?;
        if compiled.is_over(now) {
            return Err(NoChain::Unknown);
        }
        let chain = compiled.chain.as_ref().ok_or(NoChain::Refused)?;
        if brings.is_none() || brings == compiled.reads.as_deref() {
            return Ok(chain);
        }
        let mut older = self.older.get(&compiled.name).into_iter().flatten();
        let version = older.find(|version| version.reads.as_deref() == brings && !version.is_over(now));
        version.and_then(|version| version.chain.as_ref()).ok_or(NoChain::ReadsOther)
    }

    /// Every AuthConfig that is declared, by name.
    pub fn by_name(&self) -> BTreeMap<&Name, &Compiled> {
        let declared = self.configs.values().filter(|compiled| compiled.removed_until.is_none());
        declared.map(|compiled| (&compiled.name, &**compiled)).collect()
    }

    /// The AuthConfig called `name`, if it is declared.
    pub fn declared(&self, name: &Name) -> Option<&Compiled> {
        let found = self.configs.get(config_id(name).as_str())?;
        found.removed_until.is_none().then_some(&**found)
    }

    /// Begins to get what the AuthConfigs of these names will need before they are asked.
    pub fn prepare<'a>(&self, names: impl IntoIterator<Item = &'a Name>) {
        let declared = names.into_iter().filter_map(|name| self.declared(name));
        declared.filter_map(|compiled| compiled.chain.as_ref()).for_each(|chain| chain.prepare());
    }

    /// When the first of those that were removed or replaced stops answering.
    pub fn next_removal(&self) -> Option<Instant> {
        let replaced = self.older.values().flatten().filter_map(|version| version.removed_until);
        self.removed.values().copied().chain(replaced).min()
    }
}

impl Compiled {
    /// The `metadata.generation` of the AuthConfig that was compiled, where its source has one.
    pub fn generation(&self) -> Option<i64> {
        self.source.as_ref()?.generation()
    }

    /// The headers on which its answers depend, as a question says them; none if on all.
    pub fn reads(&self) -> Option<&str> {
        self.reads.as_deref()
    }

    fn refused(name: &Name, source: Option<Arc<AuthConfig>>, problems: Vec<Problem>) -> Compiled {
        let (accepts, removed_until, reads) = (Accepts::default(), None, None);
        Compiled { name: name.clone(), chain: None, problems, accepts, removed_until, reads, source }
    }

    /// Who may pass; none if it was refused.
    fn admits(&self) -> Option<Admits<'_>> {
        let (chain, source) = (self.chain.as_ref()?, self.source.as_ref()?);
        let methods = source.spec.configs.iter().map(methods::of);
        let steps = methods.map(|of| of.map(|(_, method)| method.lets_in(&self.name.namespace)));
        Some(Admits { plan: &chain.plan, steps: steps.collect::<Option<_>>()? })
    }

    fn is_over(&self, now: Instant) -> bool {
        self.removed_until.is_some_and(|until| now >= until)
    }
}

/// Takes out of `older` what is over by `now`, and out of `readers` what only that needed. What is declared stays the
/// very same, with all that it has learned.
fn end_older(older: &mut BTreeMap<Name, Vec<Arc<Compiled>>>, readers: &mut Readers, configs: &Configs, now: Instant) {
    older.retain(|name, versions| {
        let (over, left): (Vec<_>, Vec<_>) =
            std::mem::take(versions).into_iter().partition(|version| version.is_over(now));
        *versions = left;
        if !over.is_empty() {
            for source in over.iter().filter_map(|version| version.source.as_deref()) {
                readers.remove(name, &needs(name, source));
            }
            let current = configs.get(config_id(name).as_str());
            for source in current.into_iter().chain(&*versions).filter_map(|version| version.source.as_deref()) {
                readers.insert(name, &needs(name, source));
            }
        }
        !versions.is_empty()
    });
}

/// The AuthConfigs that read a Secret which is another one in `new` than in `old`. Keeps `labelled` up.
fn touched_by_secrets(
    old: &Snapshot,
    new: &Snapshot,
    labelled: &mut Labelled,
    readers: &Readers,
    was: &Index,
) -> BTreeSet<Name> {
    let mut touched = BTreeSet::new();
    let mut read = |name: &Name, versions: &[&Secret]| {
        for reader in readers.of(name, versions).filter(|reader| !touched.contains(*reader)).collect::<Vec<_>>() {
            let current = was.configs.get(config_id(reader).as_str());
            let mut sources = current.into_iter().chain(was.older.get(reader).into_iter().flatten());
            let meets = |source: &AuthConfig| needs(reader, source).iter().any(|need| need.is_met(name, versions));
            if sources.any(|version| version.source.as_deref().is_none_or(meets)) || current.is_none() {
                touched.insert(reader.clone());
            }
        }
    };
    for name in new.secrets.changed(&old.secrets) {
        let (gone, come) = (old.secrets.get(name), new.secrets.get(name));
        labelled.replace(gone, come);
        let versions: Vec<&Secret> = gone.into_iter().chain(come).map(|secret| &**secret).collect();
        read(name, &versions);
    }
    // Whoever names one says whether it is broken or missing.
    for broken in new.broken.changed(&old.broken).filter(|broken| broken.kind == Kind::Secret) {
        read(&broken.name, &[]);
    }
    touched
}

/// What the steps of the AuthConfig called `name` read.
fn needs<'a>(name: &Name, config: &'a AuthConfig) -> Vec<Need<'a>> {
    let methods = config.spec.configs.iter().filter_map(methods::of);
    methods.flat_map(|(_, method)| method.needs(&name.namespace)).collect()
}

fn shorten(problems: &mut Vec<Problem>) {
    problems.sort();
    problems.dedup();
    if let Some(more) = problems.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
        problems.truncate(MOST_WARNINGS);
        problems.push(Problem::warning("spec.configs", format!("{more} more warnings")));
    }
}

#[cfg(test)]
mod tests {
    use api::admit;
    use serde_json::{Value, json};

    use super::*;

    fn secret(label: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "extauth.solo.io/apikey",
            "metadata": {"name": "s", "labels": {"team": label, "zone": "z"}}, "stringData": {"api-key": "k"}})
    }

    fn config(label: &str) -> Value {
        json!({"apiVersion": "extauth.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": "c"},
            "spec": {"configs": [{"apiKeyAuth": {"labelSelector": {"team": label},
                "apiKeySecretRefs": [{"name": label}]}}]}})
    }

    #[test]
    fn of_very_many_warnings_the_first_are_told_and_how_many_more_there_are() {
        let warnings = |count: usize| {
            let mut all: Vec<Problem> = (0..count).rev().map(|n| Problem::warning("f", format!("{n:03}"))).collect();
            all.extend(all.clone());
            shorten(&mut all);
            (all.len(), all[0].message.clone(), all.last().map(|last| last.message.clone()).unwrap_or_default())
        };
        assert_eq!(warnings(MOST_WARNINGS), (MOST_WARNINGS, "000".to_owned(), "019".to_owned()));
        assert_eq!(warnings(MOST_WARNINGS + 1), (MOST_WARNINGS + 1, "000".to_owned(), "1 more warnings".to_owned()));
    }

    #[test]
    fn what_is_gone_takes_no_room_in_the_indexes() {
        let (compiler, now) = (Compiler::new(&Settings::default()), Instant::now());
        let mut snapshot = Snapshot::default();
        let mut last = Compilation::default();
        for label in ["x", "y", "w"] {
            snapshot.declare(admit(&secret(label)));
            snapshot.declare(admit(&config(label)));
            snapshot.revision += 1;
            last = compiler.compile(last, &snapshot, now);
        }
        assert!(!last.labelled.is_empty() && !last.readers.is_empty());
        snapshot.secrets.clear();
        snapshot.auth_configs.clear();
        last = compiler.compile(last, &snapshot, now);
        assert!(last.labelled.is_empty() && !last.readers.is_empty(), "the AuthConfig is in its grace");
        last = compiler.compile(last, &snapshot, now + Duration::from_secs(60));
        assert!(last.readers.is_empty() && last.index.configs.is_empty() && last.index.removed.is_empty());
    }
}
