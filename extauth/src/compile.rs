//! From a snapshot to the index that answers requests.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use api::gloo::auth_config::{self, ApiKeyAuth, AuthConfig, Expression};
use api::problem::has_errors;
use api::{Kind, Name, Object, Problem, Secret, Snapshot};

use crate::api_key::{ApiKey, Context};
use crate::chain::{Chain, Check, Denial, Plan, Step};
use crate::fingerprint::Hasher;
use crate::select::Secrets;

/// More warnings than this about one AuthConfig are only counted.
const MOST_WARNINGS: usize = 20;

/// Compiles snapshots, all with the same process-wide hash key.
#[derive(Debug)]
pub struct Compiler {
    context: Context,
}

/// All AuthConfigs of one snapshot, by `config_id`. Holds no key.
#[derive(Debug, Default)]
pub struct Index {
    /// Revision of the snapshot; 0 before the first.
    pub revision: u64,
    configs: std::collections::HashMap<String, Compiled, ahash::RandomState>,
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
    /// What it was made from; the Secrets weakly, so that no key outlives the snapshot.
    source: Option<Arc<AuthConfig>>,
    secrets: Vec<Vec<Weak<Secret>>>,
    dangling: Vec<Problem>,
}

/// Where a step stands, the step, and the Secrets it reads.
type Selected<'a> = (String, &'a ApiKeyAuth, Vec<Arc<Secret>>);

impl Compiler {
    /// A compiler whose chains tell upstream the user in `user_id_header`.
    pub fn new(user_id_header: &str) -> Self {
        let context =
            Context { hasher: Arc::new(Hasher::new()), user_id_header: user_id_header.to_ascii_lowercase().into() };
        Self { context }
    }

    /// Compiles `snapshot`, taking over from `previous` what did not change.
    pub fn compile(&self, snapshot: &Snapshot, previous: &Index) -> Index {
        let secrets = Secrets::new(snapshot);
        let mut configs = std::collections::HashMap::default();
        for (name, object) in &snapshot.auth_configs {
            let id = config_id(name);
            let compiled = self.auth_config(name, object, &secrets, previous.configs.get(&id));
            configs.insert(id, compiled);
        }
        for (reference, broken) in snapshot.broken.iter().filter(|(reference, _)| reference.kind == Kind::AuthConfig) {
            let source = match &broken.partial {
                Some(Object::AuthConfig(partial)) => Some(partial.clone()),
                _ => None,
            };
            let (name, problems) = (reference.name.clone(), broken.problems.clone());
            // Never in the way of a good one; a snapshot holds an object in one place only.
            configs.entry(config_id(&name)).or_insert(Compiled {
                name,
                chain: None,
                problems,
                source,
                secrets: vec![],
                dangling: vec![],
            });
        }
        Index { revision: snapshot.revision, configs }
    }

    fn auth_config(
        &self,
        name: &Name,
        object: &Arc<AuthConfig>,
        secrets: &Secrets<'_>,
        previous: Option<&Compiled>,
    ) -> Compiled {
        let spec = &object.spec;
        let refused = |problems| Compiled {
            name: name.clone(),
            chain: None,
            problems,
            source: Some(object.clone()),
            secrets: vec![],
            dangling: vec![],
        };
        // Admission has refused these already; nothing unenforced may get past a mistake there.
        let own: Vec<_> = auth_config::validate(object).into_iter().filter(Problem::is_error).collect();
        if has_errors(&own) {
            return refused(own);
        }

        let mut problems = Vec::new();
        let mut selected = Vec::with_capacity(spec.configs.len());
        for (index, config) in spec.configs.iter().enumerate() {
            let Some(auth) = &config.api_key_auth else {
                return refused(vec![Problem::error(format!("spec.configs[{index}]"), "not implemented yet")]);
            };
            let field = format!("spec.configs[{index}].apiKeyAuth");
            let (found, dangling) = secrets.select(auth.source(), &name.namespace, &field);
            problems.extend(dangling);
            selected.push((field, auth, found));
        }
        if let Some(previous) = previous.filter(|previous| previous.made_from(object, &selected, &problems)) {
            return previous.clone();
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
        let mut sets = vec![self.context.user_id_header.clone()];
        let mut steps = Vec::with_capacity(selected.len());
        for ((field, auth, found), step) in selected.iter().zip(names) {
            let (compiled, wrong) = ApiKey::compile(field, auth, found, &self.context);
            problems.extend(wrong);
            if compiled.keys() == 0 {
                problems.push(Problem::warning(field.clone(), "no valid keys: every request is answered 401"));
            }
            sets.extend(ApiKey::sets(auth));
            steps.push(Step { name: step, check: Check::ApiKey(compiled) });
        }
        sets.sort();
        sets.dedup();
        shorten(&mut problems);
        let secrets = selected.iter().map(|(_, _, found)| found.iter().map(Arc::downgrade).collect()).collect();
        let chain = Chain { name: name.clone(), steps, plan, sets, meters: OnceLock::new() };
        Compiled {
            name: name.clone(),
            chain: Some(Arc::new(chain)),
            problems,
            source: Some(object.clone()),
            secrets,
            dangling,
        }
    }
}

/// The `config_id` of the AuthConfig `name`. Namespaces have no dots, so no two are the same.
pub fn config_id(name: &Name) -> String {
    format!("{}.{}", name.namespace, name.name)
}

impl Index {
    /// The chain that `config_id` names, or how to answer without one.
    pub fn find(&self, config_id: Option<&str>) -> Result<&Arc<Chain>, Denial> {
        let id = config_id.filter(|id| !id.is_empty()).ok_or(Denial::NO_CONFIG_ID)?;
        let compiled = self.configs.get(id).ok_or(Denial::UNKNOWN_CONFIG)?;
        compiled.chain.as_ref().ok_or(Denial::REFUSED_CONFIG)
    }

    /// Everything in the index, by name.
    pub fn by_name(&self) -> BTreeMap<&Name, &Compiled> {
        self.configs.values().map(|compiled| (&compiled.name, compiled)).collect()
    }
}

impl Compiled {
    /// How many keys its steps accept in all.
    pub fn keys(&self) -> usize {
        let steps = self.chain.iter().flat_map(|chain| &chain.steps);
        steps
            .map(|step| match &step.check {
                Check::ApiKey(step) => step.keys(),
            })
            .sum()
    }

    /// From how many Secrets they were read.
    pub fn secrets(&self) -> usize {
        self.secrets.iter().map(Vec::len).sum()
    }

    /// Whether compiling `object` with these Secrets would give this again.
    fn made_from(&self, object: &Arc<AuthConfig>, selected: &[Selected<'_>], dangling: &[Problem]) -> bool {
        // A Weak keeps its allocation, so equal addresses mean the very same object.
        let same = |(was, (_, _, now)): (&Vec<Weak<Secret>>, &Selected<'_>)| {
            was.len() == now.len() && was.iter().zip(now).all(|(was, now)| std::ptr::eq(was.as_ptr(), Arc::as_ptr(now)))
        };
        self.chain.is_some()
            && self.dangling == dangling
            && self.source.as_ref().is_some_and(|source| Arc::ptr_eq(source, object))
            && self.secrets.len() == selected.len()
            && self.secrets.iter().zip(selected).all(same)
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
