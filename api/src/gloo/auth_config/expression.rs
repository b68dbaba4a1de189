//! `booleanExpr`: names of steps combined with `&&`, `||`, `!` and parentheses.
//!
//! `!` binds tightest, then `&&`, then `||`; evaluation is from left to right
//! and stops as soon as the result is known.

use std::collections::BTreeSet;

/// Longer expressions, and deeper ones, are refused: evaluation is recursive and runs on every request.
const MOST_BYTES: usize = 4096;
const DEEPEST: usize = 32;

/// A parsed `booleanExpr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// The step of this name passes.
    Step(String),
    /// The inner expression does not hold.
    Not(Box<Expression>),
    /// All hold; tried in order.
    All(Vec<Expression>),
    /// At least one holds; tried in order.
    Any(Vec<Expression>),
}

impl Expression {
    /// Parses `text`, or says what is wrong with it and where.
    pub fn parse(text: &str) -> Result<Expression, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("longer than {MOST_BYTES} characters; split the AuthConfig"));
        }
        let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
        let expression = parser.any()?;
        match parser.peek() {
            None => Ok(expression),
            Some(token) => Err(format!("{} at character {} is not expected here", token.kind.show(), token.at + 1)),
        }
    }

    /// The names it mentions.
    pub fn names(&self) -> BTreeSet<&str> {
        match self {
            Expression::Step(name) => BTreeSet::from([name.as_str()]),
            Expression::Not(inner) => inner.names(),
            Expression::All(parts) | Expression::Any(parts) => parts.iter().flat_map(Expression::names).collect(),
        }
    }

    /// Whether the expression can hold although no step passes.
    pub fn holds_when_nothing_passes(&self) -> bool {
        match self {
            Expression::Step(_) => false,
            Expression::Not(inner) => !inner.holds_when_nothing_passes(),
            Expression::All(parts) => parts.iter().all(Expression::holds_when_nothing_passes),
            Expression::Any(parts) => parts.iter().any(Expression::holds_when_nothing_passes),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Name(String),
    And,
    Or,
    Not,
    Open,
    Close,
}

impl Kind {
    fn show(&self) -> String {
        match self {
            Kind::Name(name) => format!("{name:?}"),
            Kind::And => "\"&&\"".to_owned(),
            Kind::Or => "\"||\"".to_owned(),
            Kind::Not => "\"!\"".to_owned(),
            Kind::Open => "\"(\"".to_owned(),
            Kind::Close => "\")\"".to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    at: usize,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let mut pair = |second: char, kind: Kind| match rest.next_if(|(_, c)| *c == second) {
            Some(_) => Ok(kind),
            None => Err(format!("\"{c}\" at character {} stands alone; write \"{c}{c}\"", at + 1)),
        };
        let kind = match c {
            c if c.is_whitespace() => continue,
            '&' => pair('&', Kind::And)?,
            '|' => pair('|', Kind::Or)?,
            '!' => Kind::Not,
            '(' => Kind::Open,
            ')' => Kind::Close,
            c if is_name(c) => {
                let mut name = String::from(c);
                while let Some((_, c)) = rest.next_if(|(_, c)| is_name(*c)) {
                    name.push(c);
                }
                Kind::Name(name)
            }
            other => {
                return Err(format!(
                    "{other:?} at character {} is not expected; combine names with &&, ||, ! and parentheses",
                    at + 1
                ));
            }
        };
        out.push(Token { kind, at });
    }
    Ok(out)
}

/// Characters of a name inside an expression.
fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self, kind: &Kind) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == *kind);
        self.next += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Expression, String> {
        self.list(&Kind::Or, Parser::all, Expression::Any)
    }

    fn all(&mut self) -> Result<Expression, String> {
        self.list(&Kind::And, Parser::operand, Expression::All)
    }

    fn list(
        &mut self,
        between: &Kind,
        part: fn(&mut Parser) -> Result<Expression, String>,
        whole: fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, String> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.take(between) {
            parts.push(part(self)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { whole(parts) })
    }

    fn operand(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("nested deeper than {DEEPEST}; simplify the expression"));
        }
        let Some(token) = self.peek().cloned() else {
            return Err("ends where the name of a config is expected".to_owned());
        };
        self.next += 1;
        let found = match token.kind {
            Kind::Name(name) => Expression::Step(name),
            Kind::Not => Expression::Not(Box::new(self.operand()?)),
            Kind::Open => {
                let inner = self.any()?;
                if !self.take(&Kind::Close) {
                    return Err(format!("the parenthesis at character {} is not closed", token.at + 1));
                }
                inner
            }
            other => {
                return Err(format!(
                    "{} at character {} stands where the name of a config is expected",
                    other.show(),
                    token.at + 1
                ));
            }
        };
        self.depth -= 1;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str) -> Expression {
        Expression::Step(name.to_owned())
    }

    #[test]
    fn not_binds_tighter_than_and_and_and_tighter_than_or() {
        assert_eq!(
            Expression::parse("a || !b && config_2"),
            Ok(Expression::Any(vec![
                step("a"),
                Expression::All(vec![Expression::Not(Box::new(step("b"))), step("config_2")])
            ]))
        );
        assert_eq!(
            Expression::parse("(a||b)&&c-1"),
            Ok(Expression::All(vec![Expression::Any(vec![step("a"), step("b")]), step("c-1")]))
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, part) in [
            ("", "ends where"),
            ("a &", "write \"&&\""),
            ("a | b", "write \"||\""),
            ("a b", "\"b\" at character 3"),
            ("(a", "parenthesis at character 1"),
            ("a)", "\")\" at character 2"),
            ("&& a", "\"&&\" at character 1"),
            ("a && ", "ends where"),
            ("a = b", "'=' at character 3"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        assert!(Expression::parse(&format!("{}a", "!".repeat(10_000))).is_err());
        assert!(Expression::parse(&format!("{}a{}", "(".repeat(100), ")".repeat(100))).is_err());
        assert!(Expression::parse(&format!("a{}", " && a".repeat(500))).is_ok());
        let nested = |depth: usize| Expression::parse(&format!("{}a", "!".repeat(depth - 1)));
        assert!(nested(DEEPEST).is_ok() && nested(DEEPEST + 1).is_err());
    }

    #[test]
    fn an_expression_that_needs_no_credentials_is_recognised() {
        let open = |text: &str| Expression::parse(text).unwrap().holds_when_nothing_passes();
        assert!(open("!a") && open("a || !b") && open("!(a && b)") && open("!a && !b"));
        assert!(!open("a") && !open("a && !b") && !open("!!a") && !open("a || b"));
    }
}
