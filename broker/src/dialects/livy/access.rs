//! Who may do what with whose session: Livy's access control and impersonation.
//!
//! The rules are pure. [`admit`] finds out for whom each call acts; the desk asks [`LivyConfig::may`] before it gives
//! a session out.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::Uri;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::{Caller, LivyConfig};

/// Users by name; `*` stands for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Users(Vec<String>);

impl Users {
    /// Everybody.
    pub fn all() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// True if the user is among them.
    pub fn has(&self, user: &str) -> bool {
        self.0.iter().any(|name| name == "*" || name == user)
    }
}

impl<const N: usize> From<[&str; N]> for Users {
    fn from(names: [&str; N]) -> Self {
        Self(names.map(str::to_owned).into())
    }
}

/// What a call needs of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To see that it is there, and its state.
    Look,
    /// To read its log, its code and its outputs.
    View,
    /// To run code in it and to end it.
    Modify,
}

impl LivyConfig {
    /// True if `user` may call at all.
    pub fn may_call(&self, user: &str) -> bool {
        let lists = [
            &self.allowed_users,
            &self.view_users,
            &self.modify_users,
            &self.superusers,
        ];
        self.open_to_all || lists.iter().any(|users| users.has(user))
    }

    /// True if `user` has a right to what belongs to `owner` and runs as `proxy_user`.
    pub fn may(&self, user: &str, right: Right, owner: &str, proxy_user: Option<&str>) -> bool {
        let own = owner == user || proxy_user == Some(user);
        let modify = own || self.modify_users.has(user) || self.superusers.has(user);
        let view = modify || self.view_users.has(user);
        self.open_to_all
            || match right {
                Right::Look => view || self.show_to_all,
                Right::View => view,
                Right::Modify => modify,
            }
    }

    /// The user that a call of `user` acts for, if it names one: `None` is the caller itself.
    ///
    /// # Errors
    /// [`Refusal::Impersonation`].
    pub fn acts_for(&self, user: &str, wanted: Option<&str>) -> Result<Option<String>, Refusal> {
        let wanted = wanted.filter(|wanted| self.impersonation && !wanted.is_empty());
        match wanted {
            // Where nobody is asked who they are, they may say for whom they come.
            Some(wanted) if user.is_empty() || wanted == user || self.superusers.has(user) => {
                Ok(Some(wanted.to_owned()))
            }
            Some(wanted) => Err(Refusal::Impersonation {
                user: user.to_owned(),
                wanted: wanted.to_owned(),
            }),
            None => Ok(None),
        }
    }

    /// Whom something new runs as: the user that the call names, else the one that its body does, else the caller.
    ///
    /// # Errors
    /// [`Refusal::Impersonation`].
    pub fn runs_as(&self, caller: &Caller, asked: Option<&str>) -> Result<Option<String>, Refusal> {
        let wanted = caller.acts_for.as_deref().or(asked);
        self.acts_for(&caller.user, wanted.or(Some(&caller.user)))
    }
}

#[derive(Debug, Deserialize)]
struct DoAs {
    #[serde(rename = "doAs")]
    do_as: Option<String>,
}

/// The user that a call names. One that cannot be told is not nobody: the caller would act as itself.
fn wanted(uri: &Uri) -> Result<Option<String>, Refusal> {
    let asked = Query::<DoAs>::try_from_uri(uri);
    asked
        .map(|Query(asked)| asked.do_as)
        .map_err(|rejection| Refusal::Malformed(rejection.body_text()))
}

/// Refuses callers who may not call, and finds out for whom the others act.
pub(super) async fn admit(
    State(config): State<Arc<LivyConfig>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    if !config.may_call(&caller.user) {
        return Refusal::NotAllowed(caller.user).into_response();
    }
    let wanted = wanted(request.uri());
    match wanted.and_then(|wanted| config.acts_for(&caller.user, wanted.as_deref())) {
        Ok(acts_for) => caller.acts_for = acts_for,
        Err(refusal) => return refusal.into_response(),
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LivyConfig {
        LivyConfig {
            superusers: ["root"].into(),
            view_users: ["reader"].into(),
            modify_users: ["keeper"].into(),
            ..LivyConfig::default()
        }
    }

    /// livy#103, livy#104, livy#106: alice's session, which runs as bob.
    #[test]
    fn i7_each_user_has_their_rights() {
        let private = config();
        let shown = LivyConfig {
            show_to_all: true,
            ..config()
        };
        let open = LivyConfig {
            open_to_all: true,
            ..LivyConfig::default()
        };
        let table = [
            (&private, "alice", [true, true, true]),
            (&private, "bob", [true, true, true]),
            (&private, "root", [true, true, true]),
            (&private, "keeper", [true, true, true]),
            (&private, "reader", [true, true, false]),
            (&private, "carol", [false, false, false]),
            (&private, "", [false, false, false]),
            (&shown, "carol", [true, false, false]),
            (&shown, "reader", [true, true, false]),
            (&open, "carol", [true, true, true]),
            (&open, "", [true, true, true]),
        ];
        for (config, user, wanted) in table {
            let rights = [Right::Look, Right::View, Right::Modify];
            let found = rights.map(|right| config.may(user, right, "alice", Some("bob")));
            assert_eq!(found, wanted, "{user} {config:?}");
        }
    }

    /// livy#105
    #[test]
    fn allowed_users_are_those_of_every_list() {
        let config = LivyConfig {
            allowed_users: ["alice"].into(),
            ..config()
        };
        for user in ["alice", "root", "keeper", "reader"] {
            assert!(config.may_call(user), "{user}");
        }
        assert!(!config.may_call("bob") && !config.may_call(""));
        assert!(LivyConfig::default().may_call("bob") && LivyConfig::default().may_call(""));
    }

    /// livy#99
    #[test]
    fn i7_whom_a_call_names_is_never_guessed() {
        let asked = |uri: &'static str| wanted(&Uri::from_static(uri));
        let bob = Ok(Some("bob".to_owned()));
        assert_eq!(asked("/sessions"), Ok(None));
        assert_eq!(asked("/sessions?from=1&doAs=bob&from=2"), bob);
        for twice in ["/sessions?doAs=bob&doAs=bob", "/sessions?doAs=&x=1&doAs=bob"] {
            let refused = asked(twice).unwrap_err();
            assert_eq!(refused.status().as_u16(), 400, "{refused}");
        }
    }

    /// livy#99, livy#101
    #[test]
    fn i7_only_superusers_act_for_others() {
        let on = LivyConfig {
            impersonation: true,
            ..config()
        };
        let bob = || Ok(Some("bob".to_owned()));
        assert_eq!(config().acts_for("alice", Some("bob")), Ok(None));
        for user in ["bob", "root", ""] {
            assert_eq!(on.acts_for(user, Some("bob")), bob(), "{user}");
        }
        for nobody in [None, Some("")] {
            assert_eq!(on.acts_for("alice", nobody), Ok(None));
        }
        let refused = on.acts_for("alice", Some("bob")).unwrap_err();
        let text = "User 'alice' not allowed to impersonate 'Some(bob)'.";
        assert_eq!(
            (refused.status().as_u16(), refused.to_string()),
            (403, text.to_owned())
        );
    }
}
