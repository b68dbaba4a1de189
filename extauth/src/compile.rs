//! From a snapshot to the index that answers requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use api::contract::config_id;
use api::gloo::auth_config::{self, AuthConfig, Expression};
use api::problem::has_errors;
use api::{Kind, Name, Object, Problem, Secret, Snapshot};

use crate::Settings;
use crate::chain::{Chain, Plan};
use crate::fingerprint::Hasher;
use crate::headers::Seal;
use crate::methods::hashing::Hashing;
use crate::methods::{self, Accepts, Context, Inputs, Method, Read};
use crate::select::Secrets;
use crate::step::Denial;

/// More warnings than this about one AuthConfig are only counted.
const MOST_WARNINGS: usize = 20;

/// Compiles snapshots, all with the same process-wide hash key.
#[derive(Debug)]
pub struct Compiler {
    context: Context,
    removed_grace: Duration,
}

/// All AuthConfigs of one snapshot, by `config_id`, and those removed lately. Holds no key.
#[derive(Debug, Default)]
pub struct Index {
    /// Revision of the snapshot; 0 before the first.
    pub revision: u64,
    /// Whether something could not be read that may hold AuthConfigs or Secrets: then nothing passes.
    pub withheld: bool,
    configs: HashMap<String, Compiled, ahash::RandomState>,
}

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
    source: Option<Arc<AuthConfig>>,
    /// The Secrets that each step read; weakly, so that no key outlives the snapshot.
    read: Vec<Vec<Weak<Secret>>>,
    dangling: Vec<Problem>,
}

/// A step before it is compiled: where it stands, what is written, and what it reads.
type Gathered<'a> = (String, &'a dyn Method, Read);

impl Compiler {
    /// A compiler of a process with these settings.
    pub fn new(settings: &Settings) -> Self {
        let context = Context {
            hasher: Arc::new(Hasher::new()),
            hashing: Arc::new(Hashing::new()),
            user_id_header: settings.user_id_header.to_ascii_lowercase().into(),
        };
        Self { context, removed_grace: settings.removed_grace() }
    }

    /// Compiles `snapshot` as of `now`, taking over from `previous` what did not change.
    ///
    /// An AuthConfig that is gone answers for a while longer: Envoy goes on asking for it until its
    /// routes are replaced. It does so with the Secrets of `snapshot`, so that a key that is revoked
    /// is revoked there as well.
    pub fn compile(&self, snapshot: &Snapshot, previous: &Index, now: Instant) -> Index {
        let inputs = Inputs { secrets: Secrets::new(snapshot) };
        let mut configs = HashMap::default();
        for (name, object) in &snapshot.auth_configs {
            let id = config_id(name);
            let compiled = self.auth_config(name, object, &inputs, previous.configs.get(&id));
            configs.insert(id, compiled);
        }
        for (reference, broken) in snapshot.broken.iter().filter(|(reference, _)| reference.kind == Kind::AuthConfig) {
            let source = match &broken.partial {
                Some(Object::AuthConfig(partial)) => Some(partial.clone()),
                _ => None,
            };
            // Never in the way of a good one; a snapshot holds an object in one place only.
            let refused = || Compiled::refused(&reference.name, source, broken.problems.clone());
            configs.entry(config_id(&reference.name)).or_insert_with(refused);
        }
        for (id, was) in previous.configs.iter().filter(|(_, was)| was.chain.is_some()) {
            let until = was.removed_until.unwrap_or(now + self.removed_grace);
            if until > now
                && !configs.contains_key(id)
                && let Some(object) = &was.source
            {
                let compiled = self.auth_config(&was.name, object, &inputs, Some(was));
                configs.insert(id.clone(), Compiled { removed_until: Some(until), ..compiled });
            }
        }
        Index { revision: snapshot.revision, withheld: !snapshot.withheld.is_empty(), configs }
    }

    fn auth_config(
        &self,
        name: &Name,
        object: &Arc<AuthConfig>,
        inputs: &Inputs<'_>,
        previous: Option<&Compiled>,
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
        if let Some(previous) = previous.filter(|previous| previous.made_from(object, &gathered, &problems)) {
            return Compiled { removed_until: None, ..previous.clone() };
        }

        let names: Vec<String> = (0..spec.configs.len()).map(|index| spec.step_name(index)).collect();
        let plan = match spec.expression().map(Expression::parse) {
            None => Some(Plan::in_order(names.len())),
            Some(parsed) => parsed.ok().and_then(|expression| Plan::of(&expression, &names)),
        };
        let Some(plan) = plan else {
            return refused(vec![Problem::error("spec.booleanExpr", "cannot be evaluated")]);
        };

        let dangling = problems.clone();
        let mut steps = Vec::with_capacity(gathered.len());
        let mut accepts = Accepts::default();
        for (field, method, read) in &gathered {
            let compiled = method.compile(field, read, &self.context);
            problems.extend(compiled.problems);
            accepts += compiled.accepts;
            steps.push(compiled.step);
        }
        shorten(&mut problems);
        let user_header = self.context.user_id_header.clone();
        let seal = Seal::new(spec.grants(&user_header).into_iter().map(Arc::from));
        let chain =
            Chain { name: name.clone(), steps, plan, seal: Arc::new(seal), user_header, meters: OnceLock::new() };
        let weakly = |read: &Read| read.secrets.iter().map(Arc::downgrade).collect();
        Compiled {
            name: name.clone(),
            chain: Some(Arc::new(chain)),
            problems,
            accepts,
            removed_until: None,
            source: Some(object.clone()),
            read: gathered.iter().map(|(_, _, read)| weakly(read)).collect(),
            dangling,
        }
    }
}

impl Index {
    /// The chain that `config_id` names at the time `now`, or how to answer without one.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, config_id: Option<&str>, now: Instant) -> Result<&Arc<Chain>, NoChain> {
        if self.withheld {
            return Err(NoChain::Withheld);
        }
        let id = config_id.filter(|id| !id.is_empty()).ok_or(NoChain::Unnamed)?;
        let compiled = self.configs.get(id).ok_or(NoChain::Unknown)?;
        if compiled.removed_until.is_some_and(|until| now >= until) {
            return Err(NoChain::Unknown);
        }
        compiled.chain.as_ref().ok_or(NoChain::Refused)
    }

    /// Every AuthConfig that is declared, by name.
    pub fn by_name(&self) -> BTreeMap<&Name, &Compiled> {
        let declared = self.configs.values().filter(|compiled| compiled.removed_until.is_none());
        declared.map(|compiled| (&compiled.name, compiled)).collect()
    }

    /// When the first of those that were removed stops answering.
    pub fn next_removal(&self) -> Option<Instant> {
        self.configs.values().filter_map(|compiled| compiled.removed_until).min()
    }
}

/// Why there is no chain to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoChain {
    /// Not all manifests could be read at the start.
    Withheld,
    /// The route names no AuthConfig.
    Unnamed,
    /// The route names an AuthConfig that does not exist.
    Unknown,
    /// The route names an AuthConfig that was refused.
    Refused,
}

impl NoChain {
    /// The answer to whoever asks.
    pub const fn denial(self) -> Denial {
        match self {
            NoChain::Withheld => Denial::plain(403, "manifests cannot be read"),
            NoChain::Unnamed => Denial::plain(403, "no config_id"),
            NoChain::Unknown => Denial::plain(403, "unknown config_id"),
            NoChain::Refused => Denial::plain(403, "AuthConfig was refused"),
        }
    }
}

impl Compiled {
    fn refused(name: &Name, source: Option<Arc<AuthConfig>>, problems: Vec<Problem>) -> Compiled {
        Compiled {
            name: name.clone(),
            chain: None,
            problems,
            accepts: Accepts::default(),
            removed_until: None,
            source,
            read: Vec::new(),
            dangling: Vec::new(),
        }
    }

    /// Whether compiling `object` with what its steps read now would give this again.
    fn made_from(&self, object: &Arc<AuthConfig>, gathered: &[Gathered<'_>], dangling: &[Problem]) -> bool {
        // A Weak keeps its allocation, so equal addresses mean the very same object.
        let same = |(was, (_, _, now)): (&Vec<Weak<Secret>>, &Gathered<'_>)| {
            let now = &now.secrets;
            was.len() == now.len() && was.iter().zip(now).all(|(was, now)| std::ptr::eq(was.as_ptr(), Arc::as_ptr(now)))
        };
        self.chain.is_some()
            && self.dangling == dangling
            && self.source.as_ref().is_some_and(|source| Arc::ptr_eq(source, object))
            && self.read.len() == gathered.len()
            && self.read.iter().zip(gathered).all(same)
    }
}

fn shorten(problems: &mut Vec<Problem>) {
    problems.sort();
    problems.dedup();
    if let Some(more) = problems.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
        problems.truncate(MOST_WARNINGS);
        problems.push(Problem::warning("spec.configs", format!("{more} more warnings")));
    }
}
